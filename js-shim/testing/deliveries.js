// Events for the user of the page
// -------------------------------
//
// The push service keeps each event until the device has acknowledged it.

export class Deliveries {
  constructor() {
    this._devices = new Map();
    // The events before there was a device.
    this._early = [];
    this._count = 0;
  }

  // The device of this id. The first one gets the events that were sent before.
  device(id) {
    if (!this._devices.has(id)) this._devices.set(id, new Device(this._early.splice(0)));
    return this._devices.get(id);
  }

  // Keeps an event for all devices, and returns it.
  add(data) {
    const event = {id: String(++this._count), data};
    const lists = this._devices.size ? [...this._devices.values()].map(device => device.events) : [this._early];
    for (const list of lists) list.push(event);
    return event;
  }
}

class Device {
  constructor(events) {
    this.events = events;
  }

  // The events without an acknowledgement.
  waiting() {
    return this.events;
  }

  acknowledge(id) {
    while (this.events.length && Number(this.events[0].id) <= Number(id)) this.events.shift();
  }
}

use backwire_records::criteria::{Collection, Filter, Scope};

use super::*;

fn todo() -> Resource {
    Resource::parse("todo").unwrap()
}

fn filter_of(resource: &str) -> Room {
    Room::scoped(Resource::parse(resource).unwrap(), anything()).unwrap()
}

/// A scope that is not written as the whole resource.
fn anything() -> Scope {
    Scope::Whole(Filter::Any(Vec::new()))
}

#[test]
fn instance_rooms_of_stock_clients_count_for_the_resource() {
    let room = Room::parse("todo/7").unwrap();
    assert_eq!(counted_room(Dialect::Runtime, &room), room);
    assert_eq!(counted_room(Dialect::Sails, &room), Room::class(todo()));
    let part = Room::scoped(todo(), Scope::One(Id::Integer(7), Filter::default())).unwrap();
    assert_eq!(counted_room(Dialect::Sails, &part), part);
}

#[test]
fn filters_are_found_by_their_resource() {
    let presence = Presence::default();
    for room in [filter_of("todo"), filter_of("todos"), Room::parse("todo/7").unwrap()] {
        presence.add(Dialect::Runtime, &room);
    }
    let filters = presence.filters_of(Dialect::Runtime, &todo());
    let rooms: Vec<_> = filters.iter().map(|filter| filter.room.clone()).collect();
    assert_eq!(rooms, [filter_of("todo")]);
    presence.remove(Dialect::Runtime, &filter_of("todo"));
    assert!(!presence.has_filters(Dialect::Runtime, &todo()));
}

#[test]
fn rooms_of_one_record_and_of_members_are_found_while_they_have_subscribers() {
    let presence = Presence::default();
    let one = |id| Room::scoped(todo(), Scope::One(Id::Integer(id), Filter::default())).unwrap();
    let of = |id| CollectionKey {
        resource: "user".to_owned(),
        id: Id::Integer(id),
        attribute: "todos".to_owned(),
    };
    let members = |id| {
        let scope = Scope::Members(Collection { of: of(id), at: (1, 2) }, Box::new(anything()));
        Room::scoped(todo(), scope).unwrap()
    };
    let rooms = [one(7), one(8), members(7), members(8), Room::parse("todo/7").unwrap()];
    rooms.iter().for_each(|room| presence.add(Dialect::Runtime, room));
    presence.add(Dialect::Runtime, &one(7));
    let found = || {
        let records = presence.record_filters(Dialect::Runtime, &todo(), &Id::Integer(7));
        let records: Vec<_> = records.iter().map(|filter| filter.room.clone()).collect();
        (records, presence.member_rooms(Dialect::Runtime, &todo(), &of(7)))
    };
    assert_eq!(found(), (vec![one(7)], vec![members(7)]));
    presence.remove(Dialect::Runtime, &one(7));
    assert_eq!(found(), (vec![one(7)], vec![members(7)]));
    presence.remove(Dialect::Runtime, &one(7));
    presence.remove(Dialect::Runtime, &members(7));
    assert_eq!(found(), (vec![], vec![]));
    rooms[1..].iter().for_each(|room| presence.remove(Dialect::Runtime, room));
    assert!(presence.counts.lock().dialects.iter().all(HashMap::is_empty));
}

#[test]
fn resource_has_connections_as_long_as_any_of_its_rooms_has() {
    let presence = Presence::default();
    let has_any = || Dialect::ALL.map(|dialect| presence.has_any(dialect, &todo()));
    for room in [filter_of("todo"), Room::parse("todo/7/8").unwrap(), Room::class(todo())] {
        presence.add(Dialect::Runtime, &Room::parse("todos").unwrap());
        presence.add(Dialect::Runtime, &room);
        presence.add(Dialect::Runtime, &room);
        presence.remove(Dialect::Runtime, &room);
        assert_eq!(has_any(), [true, false, false, false], "{room}");
        presence.remove(Dialect::Runtime, &room);
        presence.remove(Dialect::Runtime, &room);
        assert_eq!(has_any(), [false; 4], "{room}");
    }
}

#[test]
fn room_is_empty_when_last_connection_has_left() {
    let (presence, room) = (Presence::default(), Room::class(todo()));
    presence.add(Dialect::Runtime, &room);
    presence.add(Dialect::Runtime, &room);
    for left in [1, 0, 0] {
        presence.remove(Dialect::Runtime, &room);
        assert_eq!(presence.count(Dialect::Runtime, &room), left);
    }
}

use backwire_environment::HashSet;
use backwire_records::criteria::{Collection, Filter, Scope};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

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
    assert!(presence.counts.lock().resources.is_empty());
}

#[test]
fn resource_has_connections_as_long_as_any_of_its_rooms_has() {
    let presence = Presence::default();
    let has_any = || presence.counts(&todo()).map(|counts| counts.all > 0);
    for room in [filter_of("todo"), Room::parse("todo/7/8").unwrap(), Room::class(todo())] {
        presence.add(Dialect::Runtime, &Room::parse("todos").unwrap());
        presence.add(Dialect::Runtime, &room);
        presence.add(Dialect::Runtime, &room);
        presence.remove(Dialect::Runtime, &room);
        assert_eq!(has_any(), [true, false, false, false], "{room}");
        presence.remove(Dialect::Runtime, &room);
        presence.remove(Dialect::Runtime, &room);
        assert_eq!(has_any(), [false; 4], "{room}");
        assert!(!presence.has_any(&todo()) && presence.has_any(&Resource::parse("todos").unwrap()));
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

/// Rooms of every kind, of two resources whose names begin alike.
fn all_rooms() -> Vec<Room> {
    let mut rooms = Vec::new();
    for resource in ["todo", "todos"].map(|name| Resource::parse(name).unwrap()) {
        rooms.push(Room::class(resource.clone()));
        for id in [Id::Integer(7), Id::Text("7a".into())] {
            rooms.push(Room::instance(resource.clone(), id.clone()));
            for filter in [Filter::default(), Filter::Any(Vec::new())] {
                let of = CollectionKey {
                    resource: "user".to_owned(),
                    id: id.clone(),
                    attribute: "todos".to_owned(),
                };
                let scope = Box::new(Scope::Whole(filter.clone()));
                for scope in [
                    Scope::One(id.clone(), filter.clone()),
                    Scope::Members(Collection { of, at: (1, 2) }, scope),
                ] {
                    rooms.extend(Room::scoped(resource.clone(), scope));
                }
            }
        }
        rooms.extend(Room::scoped(resource, anything()));
    }
    rooms
}

/// Compares every answer with a search through the list of all connections in rooms.
fn compare(presence: &Presence, joined: &[(Dialect, Room)], rooms: &[Room]) {
    for dialect in Dialect::ALL {
        let with = |room: &Room| joined.iter().filter(|it| **it == (dialect, room.clone())).count();
        for room in rooms {
            assert_eq!(presence.count(dialect, room), with(room), "{dialect:?} {room}");
        }
        let present: HashSet<_> = rooms.iter().filter(|room| with(room) > 0).cloned().collect();
        let of_filters = |filters: Vec<Arc<FollowedFilter>>| -> HashSet<_> {
            filters.iter().map(|filter| filter.room.clone()).collect()
        };
        let some = |matches: &dyn Fn(&Room) -> bool| -> HashSet<_> {
            present.iter().filter(|room| matches(room)).cloned().collect()
        };
        for resource in ["todo", "todos"].map(|name| Resource::parse(name).unwrap()) {
            let of = |room: &Room| *room.resource() == resource;
            let lists = some(&|room| of(room) && room.scope().is_some() && room.id().is_none());
            let counts = SubscriberCounts {
                all: some(&of).iter().map(with).sum(),
                in_class: with(&Room::class(resource.clone())),
                has_filters: present.iter().any(|room| of(room) && room.scope().is_some()),
            };
            assert_eq!(presence.counts(&resource)[dialect as usize], counts);
            assert_eq!(presence.has_filters(dialect, &resource), !lists.is_empty());
            assert_eq!(of_filters(presence.filters_of(dialect, &resource)), lists);
            for id in [Id::Integer(7), Id::Text("7a".into())] {
                let is_of_record =
                    |room: &Room| of(room) && room.scope().is_some() && room.id() == Some(&id);
                let found = of_filters(presence.record_filters(dialect, &resource, &id));
                assert_eq!(found, some(&is_of_record));
                let key = CollectionKey {
                    resource: "user".to_owned(),
                    id,
                    attribute: "todos".to_owned(),
                };
                let is_member = |room: &Room| {
                    let collection = room.scope().and_then(Scope::collection);
                    of(room) && collection.is_some_and(|collection| collection.of == key)
                };
                let found = presence.member_rooms(dialect, &resource, &key);
                assert_eq!(found.into_iter().collect::<HashSet<_>>(), some(&is_member));
            }
        }
    }
}

#[test]
fn rooms_are_found_as_in_a_list_of_all_connections() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let (mut random, rooms) = (StdRng::seed_from_u64(seed), all_rooms());
    let (presence, mut joined) = (Presence::default(), Vec::new());
    for step in 0..600 {
        // More connections leave in the second half, so that rooms become empty.
        if joined.is_empty() || random.random_bool(if step < 300 { 0.6 } else { 0.4 }) {
            let dialect = Dialect::ALL[random.random_range(0..4)];
            let room = presence.shared(dialect, rooms[random.random_range(0..rooms.len())].clone());
            presence.add(dialect, &room);
            joined.push((dialect, room));
        } else {
            let (dialect, room) = joined.swap_remove(random.random_range(0..joined.len()));
            presence.remove(dialect, &room);
        }
        if step % 7 == 0 {
            compare(&presence, &joined, &rooms);
        }
    }
    joined.iter().for_each(|(dialect, room)| presence.remove(*dialect, room));
    compare(&presence, &[], &rooms);
    assert!(presence.counts.lock().resources.is_empty());
}

/// However many addresses keep as much as they may, one more finds room.
#[test]
fn address_may_keep_as_much_memory_for_rooms_as_is_free() {
    const TOTAL: usize = 1 << 20;
    const STEP: usize = 64;
    let limits = Limits { subscription_bytes_total: TOTAL, ..Limits::default() };
    let presence = Presence::new(limits);
    let address = |number: u8| Some(IpAddr::from([10, 0, 0, number]));
    let fill = |number| {
        let mut kept = 0;
        while presence.has_memory(address(number)) {
            presence.resize(address(number), kept, kept + STEP);
            kept += STEP;
        }
        kept
    };
    assert_eq!([1, 2, 3, 4].map(fill), [TOTAL / 2, TOTAL / 4, TOTAL / 8, TOTAL / 16]);
    assert!(presence.has_memory(address(5)) && !presence.has_memory(address(4)));
    // Memory that an address gives back is free for the others.
    presence.resize(address(1), TOTAL / 2, 0);
    assert!(presence.has_memory(address(1)) && presence.has_memory(address(4)));
    assert_eq!(presence.memory(), TOTAL / 4 + TOTAL / 8 + TOTAL / 16);
}

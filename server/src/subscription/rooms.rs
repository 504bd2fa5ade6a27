//! The rooms of a single record.

use backwire_records::access::AccessScope;
use backwire_records::change::{Id, Resource, Room};
use backwire_records::criteria::Scope;

use crate::socket::Client;

/// Returns the rooms in which a client follows a single record. If the caller may see the record
/// only while it matches a filter, the room is one that the record can leave. A stock client is in
/// the room of the record in any case. It stays there when a list that it follows no longer has the
/// record, if it is in the scoped room as well.
pub(crate) fn rooms_of_record(
    may_join: impl Fn(&Room) -> bool,
    client: &Client,
    resource: &Resource,
    id: &Id,
    access_scope: &AccessScope,
) -> Option<Vec<Room>> {
    let instance = Room::instance(resource.clone(), id.clone());
    let is_stock = client.dialect().is_stock();
    if *access_scope == AccessScope::Whole && !is_stock {
        return may_join(&instance).then(|| vec![instance]);
    }
    let filter = access_scope.filter();
    let scope = Scope::One(id.clone(), filter.clone());
    let scope = if is_stock { scope } else { scope.narrowed(&filter) };
    let scoped = Room::scoped(resource.clone(), scope);
    let scoped = scoped.filter(|room| may_join(room))?;
    Some(if is_stock { vec![scoped, instance] } else { vec![scoped] })
}

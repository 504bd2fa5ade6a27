//! Reads of queues.

use backwire_records::messages::flake::Flake;
use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::super::row::Json;
use crate::queues::{Batch, Delivery, DeliveryContent, Device, QueueRange};
use crate::sqlite::row::{Column, get};

/// Returns the deliveries in a range of the queue of a device.
pub(in super::super) fn waiting(
    connection: &Connection,
    device: &Device,
    range: QueueRange,
) -> Result<Batch> {
    let found = connection
        .prepare_cached(
            "SELECT person, devices.id, floor FROM persons JOIN devices ON person = persons.id
             WHERE site = ?1 AND persons.name = ?2 AND devices.name = ?3
             AND (until IS NULL OR until > ?4)",
        )?
        .query_row((&device.site, &device.person, &device.name, range.at.cast_signed()), |row| {
            Ok((row.get("person")?, row.get("id")?, get(row, "floor")?))
        })
        .optional()?;
    let Some((person, device, floor)) = found else {
        return Ok(Batch { deliveries: Vec::new(), more: false });
    };
    queue(connection, person, device, range.after.max(floor), range)
}

fn queue(
    connection: &Connection,
    person: i64,
    device: i64,
    after: Flake,
    range: QueueRange,
) -> Result<Batch> {
    let mut statement = connection.prepare_cached(
        "SELECT i.id, m.event, m.args FROM inbox i CROSS JOIN messages m ON m.id = i.id
         WHERE i.person = ?1 AND i.id > ?3 AND i.id <= ?4
         AND NOT EXISTS (SELECT 1 FROM acks WHERE acks.device = ?2 AND acks.id = i.id)
         ORDER BY i.id",
    )?;
    let found =
        statement.query_map((person, device, Column(&after), Column(&range.upto)), delivery)?;
    let (deliveries, more) = range.portion.take(found)?;
    Ok(Batch { deliveries, more })
}

/// Reads a delivery and its size.
fn delivery(row: &Row<'_>) -> Result<(Delivery, usize)> {
    let id = get(row, "id")?;
    let event: Option<String> = row.get("event")?;
    let Some(event) = event else {
        return Ok((Delivery { id, content: DeliveryContent::Resync }, 0));
    };
    let size = event.len() + row.get_ref("args")?.as_bytes().map_or(0, <[u8]>::len);
    let Json(args) = row.get("args")?;
    Ok((Delivery { id, content: DeliveryContent::Event { event, args } }, size))
}

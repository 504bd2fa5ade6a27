//! A person, their devices and their deliveries.

use backwire_records::messages::flake::Flake;
use backwire_records::messages::rules::Ttl;
use rusqlite::{Connection, OptionalExtension, Result};

use super::super::row;
use crate::sqlite::row::{Column, get};

/// The SQL conditions that a row of the inbox waits for a device, for a query that has an inbox `i`
/// and a device `d` of the same person.
macro_rules! waits {
    () => {
        "i.id > d.floor
         AND NOT EXISTS (SELECT 1 FROM acks WHERE acks.device = d.id AND acks.id = i.id)"
    };
}

/// A person with devices or deliveries.
pub(super) struct Person<'c> {
    pub(super) connection: &'c Connection,
    pub(super) id: i64,
}

/// Marks all connected devices as away since this time.
pub(super) fn disconnect_all(connection: &Connection, at: u64) -> Result<()> {
    connection
        .prepare_cached("UPDATE devices SET sockets = 0, until = ?1 + ttl WHERE until IS NULL")?
        .execute([at.cast_signed()])?;
    Ok(())
}

impl<'c> Person<'c> {
    /// Finds a person, after expired data of theirs is dropped.
    pub(super) fn find(
        connection: &'c Connection,
        site: &str,
        name: &str,
        at: u64,
    ) -> Result<Option<Self>> {
        let id = connection
            .prepare_cached("SELECT id FROM persons WHERE site = ?1 AND name = ?2")?
            .query_row((site, name), |row| row.get("id"))
            .optional()?;
        let Some(id) = id else { return Ok(None) };
        let person = Self { connection, id };
        Ok(person.forget(at)?.then_some(person))
    }

    /// Finds or creates a person, after expired data of theirs is dropped.
    pub(super) fn find_or_create(
        connection: &'c Connection,
        site: &str,
        name: &str,
        at: u64,
    ) -> Result<Self> {
        if let Some(person) = Self::find(connection, site, name, at)? {
            return Ok(person);
        }
        let id = connection
            .prepare_cached("INSERT INTO persons (site, name) VALUES (?1, ?2)")?
            .insert((site, name))?;
        Ok(Self { connection, id })
    }

    /// Drops devices that have been away for too long; with the last of them, all deliveries of the
    /// person; and then the person, if nothing is left. Returns whether anything is left.
    pub(super) fn forget(&self, at: u64) -> Result<bool> {
        let gone = self
            .connection
            .prepare_cached("DELETE FROM devices WHERE person = ?1 AND until <= ?2")?
            .execute((self.id, at.cast_signed()))?;
        if self.is_known()? {
            if gone > 0 {
                self.drop_unawaited()?;
            }
            return Ok(true);
        }
        match gone {
            0 => self.drop_ended(at)?,
            _ => self.clear()?,
        }
        let empty = self
            .connection
            .prepare_cached("DELETE FROM persons WHERE id = ?1 AND waiting = 0")?
            .execute([self.id])?;
        Ok(empty == 0)
    }

    /// Whether the person has a device.
    pub(super) fn is_known(&self) -> Result<bool> {
        self.connection
            .prepare_cached("SELECT 1 FROM devices WHERE person = ?1 LIMIT 1")?
            .exists([self.id])
    }

    /// Returns the id of a device, if it is known.
    pub(super) fn device(&self, name: &str) -> Result<Option<i64>> {
        self.connection
            .prepare_cached("SELECT id FROM devices WHERE person = ?1 AND name = ?2")?
            .query_row((self.id, name), |row| row.get("id"))
            .optional()
    }

    /// Adds a socket of a device. Returns `false` if there is no room for the device.
    pub(super) fn connect(
        &self,
        name: &str,
        ttl: Ttl,
        max_devices: usize,
        last: Flake,
    ) -> Result<bool> {
        let known = self
            .connection
            .prepare_cached(
                "UPDATE devices SET sockets = sockets + 1, until = NULL, ttl = ?3
                 WHERE person = ?1 AND name = ?2",
            )?
            .execute((self.id, name, milliseconds(ttl)))?;
        if known == 0 {
            let Some(leaving) = self.make_room(max_devices)? else { return Ok(false) };
            self.add_device(name, ttl, last)?;
            self.drop_devices(&leaving)?;
        }
        Ok(true)
    }

    /// Returns the devices to drop for a new one; `None` if too few are away.
    fn make_room(&self, max_devices: usize) -> Result<Option<Vec<i64>>> {
        let known = self
            .connection
            .prepare_cached("SELECT count(*) AS known FROM devices WHERE person = ?1")?
            .query_row([self.id], |row| row::unsigned(row, "known"))?;
        let too_many = (known + 1).saturating_sub(max_devices as u64);
        if too_many == 0 {
            return Ok(Some(Vec::new()));
        }
        let leaving = self
            .connection
            .prepare_cached(
                "SELECT id FROM devices WHERE person = ?1 AND until IS NOT NULL
                 ORDER BY until - ttl, id LIMIT ?2",
            )?
            .query_map((self.id, too_many.cast_signed()), |row| row.get("id"))?
            .collect::<Result<Vec<_>>>()?;
        Ok((leaving.len() as u64 == too_many).then_some(leaving))
    }

    /// Drops devices, but never all of them.
    fn drop_devices(&self, devices: &[i64]) -> Result<()> {
        let mut drop = self.connection.prepare_cached("DELETE FROM devices WHERE id = ?1")?;
        for device in devices {
            drop.execute([device])?;
        }
        if devices.is_empty() { Ok(()) } else { self.drop_unawaited() }
    }

    /// Adds a new device. It does not get deliveries that others have acked.
    fn add_device(&self, name: &str, ttl: Ttl, last: Flake) -> Result<()> {
        let (device, floor): (i64, Flake) = self
            .connection
            .prepare_cached(
                "INSERT INTO devices (person, name, sockets, ttl, floor) VALUES (?1, ?2, 1, ?3,
                 coalesce((SELECT id - 1 FROM inbox WHERE person = ?1 AND NOT begun
                           ORDER BY id LIMIT 1), ?4))
                 RETURNING id, floor",
            )?
            .query_row((self.id, name, milliseconds(ttl), Column(&last)), |row| {
                Ok((row.get("id")?, get(row, "floor")?))
            })?;
        self.connection
            .prepare_cached(
                "INSERT INTO acks (device, id)
                 SELECT ?2, id FROM inbox WHERE person = ?1 AND id > ?3 AND begun",
            )?
            .execute((self.id, device, Column(&floor)))?;
        // From now on deliveries wait as long as a device does.
        self.connection
            .prepare_cached(
                "UPDATE inbox SET until = NULL WHERE person = ?1 AND until IS NOT NULL",
            )?
            .execute([self.id])?;
        Ok(())
    }

    /// Removes a socket of a device.
    pub(super) fn disconnect(&self, name: &str, at: u64) -> Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE devices SET sockets = max(sockets - 1, 0),
                 until = iif(sockets = 1, ?3 + ttl, until) WHERE person = ?1 AND name = ?2",
            )?
            .execute((self.id, name, at.cast_signed()))?;
        Ok(())
    }

    /// Returns the number of deliveries that wait.
    pub(super) fn waiting(&self) -> Result<u64> {
        self.connection
            .prepare_cached("SELECT waiting FROM persons WHERE id = ?1")?
            .query_row([self.id], |row| row::unsigned(row, "waiting"))
    }

    /// Adds a stored message for all devices. If there is none, it waits for the first one until
    /// `end`.
    pub(super) fn add(&self, id: Flake, event: Option<&String>, end: u64) -> Result<()> {
        let end = (!self.is_known()?).then(|| i64::try_from(end).unwrap_or(i64::MAX));
        self.connection
            .prepare_cached(
                "INSERT INTO inbox (person, id, event, begun, until) VALUES (?1, ?2, ?3, FALSE, ?4)",
            )?
            .execute((self.id, Column(&id), event, end))?;
        Ok(())
    }

    /// Returns the deliveries that a resync replaces, if an ack is out of order.
    pub(super) fn lost_by(&self, device: i64, id: Flake) -> Result<Option<Vec<Flake>>> {
        let event: Option<String> = self
            .connection
            .prepare_cached(concat!(
                "SELECT m.event FROM devices d, inbox i, messages m
                 WHERE d.id = ?2 AND i.person = ?1 AND i.id = ?3 AND m.id = ?3 AND m.resync AND ",
                waits!()
            ))?
            .query_row((self.id, device, Column(&id)), |row| row.get("event"))
            .optional()?;
        let Some(event) = event else { return Ok(None) };
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT i.id FROM devices d CROSS JOIN inbox i
             WHERE d.id = ?2 AND i.person = ?1 AND i.event = ?3 AND ",
            waits!(),
            " ORDER BY i.id"
        ))?;
        let mut queue = statement.query_map((self.id, device, event), |row| get(row, "id"))?;
        match queue.next().transpose()? {
            Some(first) if first < id => {
                std::iter::once(Ok(first)).chain(queue).collect::<Result<_>>().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Removes deliveries from the queue of a device.
    pub(super) fn remove_from_queue(&self, device: i64, ids: &[Flake]) -> Result<()> {
        let mut last_reader = self.connection.prepare_cached(concat!(
            "DELETE FROM inbox AS i WHERE i.person = ?1 AND i.id = ?3
             AND EXISTS (SELECT 1 FROM devices d WHERE d.id = ?2 AND ",
            waits!(),
            ") AND NOT EXISTS (SELECT 1 FROM devices d WHERE d.person = ?1 AND d.id <> ?2 AND ",
            waits!(),
            ")"
        ))?;
        let mut one_reader = self.connection.prepare_cached(concat!(
            "INSERT INTO acks (device, id) SELECT ?2, ?3 FROM inbox i, devices d
             WHERE i.person = ?1 AND i.id = ?3 AND d.id = ?2 AND ",
            waits!()
        ))?;
        let mut begin = self
            .connection
            .prepare_cached("UPDATE inbox SET begun = TRUE WHERE person = ?1 AND id = ?2")?;
        let mut must_raise_floor = false;
        for id in ids {
            let whose = (self.id, device, Column(id));
            if last_reader.execute(whose)? == 0 && one_reader.execute(whose)? > 0 {
                begin.execute((self.id, Column(id)))?;
                must_raise_floor = true;
            }
        }
        if must_raise_floor { self.raise_floor(device) } else { Ok(()) }
    }

    /// Raises the floor of a device to the last delivery before the first that waits for it.
    fn raise_floor(&self, device: i64) -> Result<()> {
        self.connection
            .prepare_cached(concat!(
                "UPDATE devices AS d SET floor = max(d.floor, coalesce(
                    (SELECT i.id - 1 FROM inbox i WHERE i.person = ?1 AND ",
                waits!(),
                " ORDER BY i.id LIMIT 1),
                    (SELECT max(id) FROM inbox WHERE person = ?1), d.floor)) WHERE id = ?2"
            ))?
            .execute((self.id, device))?;
        self.connection
            .prepare_cached(
                "DELETE FROM acks WHERE device = ?1
                 AND id <= (SELECT floor FROM devices WHERE id = ?1)",
            )?
            .execute([device])?;
        Ok(())
    }

    /// Returns the devices that have not acked the oldest delivery.
    pub(super) fn furthest_behind(&self) -> Result<Vec<i64>> {
        self.connection
            .prepare_cached(concat!(
                "SELECT d.id FROM inbox i, devices d
                 WHERE i.person = ?1 AND d.person = ?1
                 AND i.id = (SELECT min(id) FROM inbox WHERE person = ?1) AND ",
                waits!()
            ))?
            .query_map([self.id], |row| row.get("id"))?
            .collect()
    }

    /// Empties the queue of a device. The caller then has to call
    /// [`drop_unawaited`](Self::drop_unawaited).
    pub(super) fn clear_queue(&self, device: i64) -> Result<()> {
        self.connection
            .prepare_cached(concat!(
                "UPDATE inbox AS i SET begun = TRUE WHERE i.person = ?1
                 AND EXISTS (SELECT 1 FROM devices d WHERE d.id = ?2 AND ",
                waits!(),
                ")"
            ))?
            .execute((self.id, device))?;
        self.connection
            .prepare_cached(
                "UPDATE devices SET floor = (SELECT max(id) FROM inbox WHERE person = ?1)
                 WHERE id = ?2",
            )?
            .execute((self.id, device))?;
        self.connection.prepare_cached("DELETE FROM acks WHERE device = ?1")?.execute([device])?;
        Ok(())
    }

    /// Adds a stored resync for some of the devices.
    pub(super) fn add_resync(&self, devices: &[i64], id: Flake) -> Result<()> {
        let others: Vec<i64> = self
            .connection
            .prepare_cached("SELECT id FROM devices WHERE person = ?1")?
            .query_map([self.id], |row| row.get("id"))?
            .collect::<Result<_>>()?;
        let others = others.iter().filter(|device| !devices.contains(device));
        self.add(id, None, u64::MAX)?;
        let mut ack =
            self.connection.prepare_cached("INSERT INTO acks (device, id) VALUES (?1, ?2)")?;
        let mut begun = 0;
        for other in others {
            begun += ack.execute((other, Column(&id)))?;
        }
        if begun > 0 {
            self.connection
                .prepare_cached("UPDATE inbox SET begun = TRUE WHERE person = ?1 AND id = ?2")?
                .execute((self.id, Column(&id)))?;
        }
        Ok(())
    }

    /// Drops the deliveries that no device waits for any more.
    pub(super) fn drop_unawaited(&self) -> Result<()> {
        self.connection
            .prepare_cached(concat!(
                "DELETE FROM inbox AS i WHERE i.person = ?1 AND i.begun
                 AND NOT EXISTS (SELECT 1 FROM devices d WHERE d.person = ?1 AND ",
                waits!(),
                ")"
            ))?
            .execute([self.id])?;
        Ok(())
    }

    /// Drops all deliveries.
    pub(super) fn clear(&self) -> Result<()> {
        self.connection
            .prepare_cached("DELETE FROM inbox WHERE person = ?1")?
            .execute([self.id])?;
        Ok(())
    }

    /// Drops the deliveries that have waited for the first device for too long.
    fn drop_ended(&self, at: u64) -> Result<()> {
        self.connection
            .prepare_cached("DELETE FROM inbox WHERE person = ?1 AND until <= ?2")?
            .execute((self.id, at.cast_signed()))?;
        Ok(())
    }
}

/// Converts a time to live to milliseconds. They are small enough that any time can be added to
/// them.
fn milliseconds(ttl: Ttl) -> i64 {
    i64::try_from(ttl.end(0)).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

//! Carries out what the live queries decide.

use backwire_protocol::live::Output as Step;
use backwire_protocol::{Request, Verb};
use backwire_records::change::Id;

use super::{Page, Purpose};
use crate::view::{Selection, View};
use crate::world::World;

fn items(joined: &str) -> Vec<Id> {
    joined.split('\0').filter_map(Id::parse).collect()
}

impl<W: World> Page<W> {
    pub(super) fn follow(&mut self) {
        while let Some(step) = self.queries.poll() {
            match step {
                Step::Ask(query) => {
                    let view = self.views[&query].clone();
                    let request = Request::new(Verb::Get, view.url(self.history.names()));
                    self.send(request, Purpose::Ask { query, view });
                }
                Step::Leave(room) => {
                    self.client.unsubscribe(&room);
                    self.places.remove(&room);
                    self.carry_out();
                    self.refresh_singles(&room);
                }
                Step::Show { target, added, removed, order } => {
                    self.show(target, &items(&added), &items(&removed), order.map(|o| items(&o)));
                }
            }
        }
    }

    /// Refreshes the rooms of single records after the class room is left. A push in flight in the
    /// class room may contain their changes, and the core no longer takes it.
    fn refresh_singles(&mut self, left: &str) {
        let Some(kind) = self.history.names().parse(left) else { return };
        let prefix = format!("{}/", self.history.names().of(kind));
        for room in self.places.keys().filter(|room| room.starts_with(&prefix)) {
            self.queries.refresh(room);
        }
    }

    fn show(&mut self, target: u32, added: &[Id], removed: &[Id], order: Option<Vec<Id>>) {
        let Some(entry) = self.targets.get_mut(&target) else { return };
        entry.shown.retain(|id| !removed.contains(id));
        let is_gone =
            |view: &View| matches!(&view.selection, Selection::One(id) if removed.contains(id));
        entry.ended.extend(entry.queries.extract_if(.., |(_, view)| is_gone(view)));
        let is_back =
            |view: &View| matches!(&view.selection, Selection::One(id) if added.contains(id));
        entry.queries.extend(entry.ended.extract_if(.., |(_, view)| is_back(view)));
        for id in added {
            if entry.shown.contains(id) {
                self.history.violated(format!("{}: {id} is added but shown already", self.name));
            } else {
                entry.shown.push(id.clone());
            }
        }
        if let Some(order) = order {
            entry.shown = order;
        }
    }
}

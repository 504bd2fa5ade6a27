//! The conventions for the properties that a model leaves open.

use super::{Conventions, Ids, Model, Populate, Unknown};

/// The limit of a read in Sails.
const SAILS_LIMIT: usize = 30;

impl Model {
    /// Returns the source of ids, which the conventions decide if the model leaves it open.
    pub fn id_source(&self) -> Ids {
        match (self.ids, self.conventions) {
            (Ids::Conventional, Conventions::Backwire) => Ids::Any,
            (Ids::Conventional, Conventions::Sails) => Ids::Integer,
            (ids, _) => ids,
        }
    }

    /// Returns the associations that a read fills in if the request does not say.
    pub fn default_populate(&self) -> Populate {
        match (&self.find.populate, self.conventions) {
            (Populate::Conventional, Conventions::Backwire) => Populate::none(),
            (Populate::Conventional, Conventions::Sails) => Populate::All,
            (populate, _) => populate.clone(),
        }
    }

    /// Returns the limit of a read if the request has none.
    pub(super) fn default_limit(&self) -> Option<usize> {
        self.find.limit.or(self.conventions.are_of_sails().then_some(SAILS_LIMIT))
    }

    /// Whether the declared attributes are all.
    pub(super) fn has_schema(&self) -> bool {
        let has_by_convention = self.conventions.are_of_sails() && !self.attributes.is_empty();
        self.schema.unwrap_or(has_by_convention)
    }

    pub(super) fn unknown(&self) -> Unknown {
        match self.unknown {
            Unknown::Conventional if self.has_schema() => Unknown::Drop,
            Unknown::Conventional => Unknown::Keep,
            unknown => unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Find;

    #[test]
    fn conventions_decide_what_a_model_leaves_open() {
        let of = |conventions| Model { conventions, ..Model::default() };
        let [own, sails] = [Conventions::Backwire, Conventions::Sails].map(of);
        assert_eq!((own.id_source(), own.default_limit()), (Ids::Any, None));
        assert_eq!((sails.id_source(), sails.default_limit()), (Ids::Integer, Some(30)));
        assert_eq!(own.default_populate(), Populate::none());
        assert_eq!(sails.default_populate(), Populate::All);
        let find = Find { limit: Some(7), populate: Populate::none(), ..Find::default() };
        let set = Model { ids: Ids::Any, find, ..sails };
        assert_eq!((set.id_source(), set.default_limit()), (Ids::Any, Some(7)));
        assert_eq!(set.default_populate(), Populate::none());
    }
}

//! Criteria for the records of a model: what its declaration adds to what is asked.

use serde_json::Value;

use super::Model;
use crate::change::{Attributes, Id};
use crate::criteria::{Bad, Criteria, Filter, Language, Parameters, Problem, Window};
use crate::nearest::nearest;

impl Criteria {
    /// Reads what a request brought, for records of this model: it says how the key is called, what is
    /// found when nothing is asked for, how much at most, and whether there are other attributes than
    /// it declares.
    pub fn read_for(
        model: &Model,
        parameters: Parameters,
        language: Language,
    ) -> Result<Self, Bad> {
        let mut parameters = parameters;
        let direction = model.normalize(&mut parameters, language)?;
        let mut criteria = Self::of_request(&model.key, parameters, language)?;
        direction.into_iter().for_each(|direction| criteria.set_direction(direction));
        criteria.all_known(model)?;
        if criteria.filter == Filter::default()
            && let Some(filter) = &model.find.filter
        {
            let filter = Value::Object(filter.clone());
            let said = Attributes::from_iter([("where".to_owned(), filter)]);
            let said = Parameters::read(Vec::new(), said)?;
            criteria.filter = Self::of_request(&model.key, said, language)?.filter;
        }
        let attribute = |name: &str| model.attributes.get(name);
        criteria.filter = criteria.filter.brought(&|name, value| attribute(name)?.bring(value));
        let Window { limit, .. } = criteria.window;
        criteria.window.limit = limit.or(model.find.limit);
        criteria.most = model.most.records;
        Ok(criteria)
    }

    /// Reads what came beside the id of a record of this model.
    pub fn read_of_one(model: &Model, id: &Id, mut parameters: Parameters) -> Result<Self, Bad> {
        model.normalize_one(&mut parameters);
        let projection = Self::of_one(&model.key, parameters)?;
        let criteria = Self { projection, ..Self::holding(model, &model.key, [id]) };
        criteria.all_known(model)?;
        Ok(criteria)
    }

    /// Whether there may be everything that is asked about.
    fn all_known(&self, model: &Model) -> Result<(), Bad> {
        let names = self.names().into_iter().chain(self.projection.names());
        match names.into_iter().find(|name| model.refuses(name)) {
            Some(name) => {
                let nearest = nearest(name, model.names()).map(str::to_owned);
                Err(Bad::new(name, Problem::Undeclared(nearest)))
            }
            None => Ok(()),
        }
    }

    /// All that have one of these ids in an attribute, which may be their key.
    pub fn holding<'a>(
        model: &Model,
        attribute: &str,
        ids: impl IntoIterator<Item = &'a Id>,
    ) -> Self {
        let all = Self { key: model.key.as_str().into(), ..Self::default() };
        all.and_holding(attribute, ids)
    }
}

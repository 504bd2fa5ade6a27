//! Criteria for the records of a model: its defaults and limits are added to the request.

use serde_json::Value;

use super::Model;
use crate::change::{Attributes, Id};
use crate::criteria::{Criteria, CriteriaError, Filter, Language, Parameters, Problem, Window};
use crate::nearest::nearest;

impl Criteria {
    /// Parses the parameters of a request for records of this model. The model has the name of the
    /// key, the defaults of a read and the limit of records, and decides whether undeclared
    /// attributes are allowed.
    pub fn read_for(
        model: &Model,
        parameters: Parameters,
        language: Language,
    ) -> Result<Self, CriteriaError> {
        let mut parameters = parameters;
        let direction = model.normalize(&mut parameters, language)?;
        let mut criteria = Self::of_request(&model.key, parameters, language)?;
        direction.into_iter().for_each(|direction| criteria.set_direction(direction));
        criteria.all_known(model)?;
        if criteria.filter == Filter::default()
            && let Some(filter) = &model.find.filter
        {
            let filter = Value::Object(filter.clone());
            let data = Attributes::from_iter([("where".to_owned(), filter)]);
            let defaults = Parameters::read(Vec::new(), data)?;
            criteria.filter = Self::of_request(&model.key, defaults, language)?.filter;
        }
        let attribute = |name: &str| model.attributes.get(name);
        criteria.filter = criteria.filter.coerced(&|name, value| attribute(name)?.coerce(value));
        let Window { limit, .. } = criteria.window;
        criteria.window.limit = limit.or(model.find.limit);
        criteria.max_records = model.most.records;
        Ok(criteria)
    }

    /// Parses the parameters of a read of one record of this model.
    pub fn read_of_one(
        model: &Model,
        id: &Id,
        mut parameters: Parameters,
    ) -> Result<Self, CriteriaError> {
        model.normalize_one(&mut parameters);
        let projection = Self::of_one(&model.key, parameters)?;
        let criteria = Self { projection, ..Self::with_attribute_in(model, &model.key, [id]) };
        criteria.all_known(model)?;
        Ok(criteria)
    }

    /// Checks that the model allows all attributes in the criteria.
    fn all_known(&self, model: &Model) -> Result<(), CriteriaError> {
        let names = self.names().into_iter().chain(self.projection.names());
        match names.into_iter().find(|name| model.refuses(name)) {
            Some(name) => {
                let nearest = nearest(name, model.names()).map(str::to_owned);
                Err(CriteriaError::new(name, Problem::Undeclared(nearest)))
            }
            None => Ok(()),
        }
    }

    /// Returns criteria for all records that have one of these ids in an attribute, which may be
    /// the key.
    pub fn with_attribute_in<'a>(
        model: &Model,
        attribute: &str,
        ids: impl IntoIterator<Item = &'a Id>,
    ) -> Self {
        let all = Self { key: model.key.as_str().into(), ..Self::default() };
        all.and_attribute_in(attribute, ids)
    }
}

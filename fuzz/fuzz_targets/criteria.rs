//! All criteria of a request are parsed or refused.
#![no_main]

use backwire::criteria::{Criteria, Language, Parameters};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for name in ["where", "sort", "limit", "select", "title"] {
        for language in [Language::Current, Language::Sails09] {
            let query = vec![(name.to_owned(), text.to_owned())];
            let parameters = Parameters::read(query, Default::default());
            let _ = parameters.and_then(|said| Criteria::read(said, language));
        }
    }
});

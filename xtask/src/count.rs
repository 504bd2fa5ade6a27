//! Reading how many tests passed from what their runners print.
//!
//! The runners are cargo's own (also in the browser), nextest and node's. Each has one line of its
//! own that closes a run.

/// The number of passed tests, if this line closes a run.
pub(crate) fn tests_passed(line: &str) -> Option<usize> {
    // nextest indents the output of a test, which has the closing line of its binary.
    let is_result = line.starts_with("test result: ");
    let line = line.trim();
    if is_result || line.starts_with("Summary [") {
        return number_before(line, " passed");
    }
    line.strip_prefix("ℹ pass ").or(line.strip_prefix("# pass "))?.parse().ok()
}

fn number_before(line: &str, word: &str) -> Option<usize> {
    let (before, _) = line.split_once(word)?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_test_closes_with_a_result() {
        let line = "test result: ok. 12 passed; 0 failed; 1 ignored; finished in 0.02s\n";
        assert_eq!(tests_passed(line), Some(12));
    }

    #[test]
    fn nextest_closes_with_a_summary() {
        let line = "     Summary [   0.102s] 41 tests run: 41 passed (1 slow), 0 skipped";
        assert_eq!(tests_passed(line), Some(41));
    }

    #[test]
    fn node_closes_with_a_count_in_either_of_its_formats() {
        assert_eq!(tests_passed("ℹ pass 7"), Some(7));
        assert_eq!(tests_passed("# pass 7"), Some(7));
    }

    #[test]
    fn other_lines_are_not_counted() {
        assert_eq!(tests_passed("    test result: ok. 1 passed; 0 failed"), None);
        assert_eq!(tests_passed("running 12 tests"), None);
        assert_eq!(tests_passed("test a::name_with_3 passed ... ok"), None);
        assert_eq!(tests_passed("# pass the salt"), None);
    }
}

//! How much a page downloads, and how much it may.

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The most that `backwire.js` may weigh on the wire.
pub(crate) const BUDGET: usize = 32 * 1024;
/// The most that each script that `backwire.js` loads may weigh.
pub(crate) const PART_BUDGET: usize = 8 * 1024;

/// A file's weight.
pub(crate) struct Size {
    pub(crate) plain: usize,
    pub(crate) zipped: usize,
}

impl Size {
    /// Weighs a file, plain and as `gzip -9` makes it.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let plain = std::fs::metadata(path)
            .with_context(|| format!("{} is missing", path.display()))?
            .len();
        let gzip = Command::new("gzip")
            .args(["-9", "--no-name", "--stdout"])
            .arg(path)
            .output()
            .context("`gzip` could not be started")?;
        ensure!(gzip.status.success(), "gzip: {}", String::from_utf8_lossy(&gzip.stderr));
        Ok(Self { plain: usize::try_from(plain)?, zipped: gzip.stdout.len() })
    }

    /// An error if it is more than a page may be asked to download.
    pub(crate) fn within(&self, budget: usize) -> Result<()> {
        if self.zipped > budget {
            bail!(
                "{self}, and only {} are allowed: {} too many",
                kilobytes(budget),
                kilobytes(self.zipped - budget)
            );
        }
        Ok(())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} gzipped", kilobytes(self.plain), kilobytes(self.zipped))
    }
}

fn kilobytes(bytes: usize) -> String {
    // Rounded up, so that what is over the budget never reads as if it were in it.
    let tenths = (bytes * 10).div_ceil(1024);
    format!("{}.{} KB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zipped(zipped: usize) -> Size {
        Size { plain: 100 * 1024, zipped }
    }

    #[test]
    fn size_equal_to_the_budget_is_allowed() {
        zipped(BUDGET).within(BUDGET).unwrap();
    }

    #[test]
    fn size_over_the_budget_is_refused_with_both_numbers() {
        let error = zipped(BUDGET + 1).within(BUDGET).unwrap_err();
        let expected = "100.0 KB, 32.1 KB gzipped, and only 32.0 KB are allowed: 0.1 KB too many";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn file_is_measured_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zeros");
        std::fs::write(&path, vec![0; 10_000]).unwrap();
        let size = Size::of(&path).unwrap();
        assert_eq!(size.plain, 10_000);
        assert!(size.zipped < 100, "{size}");
    }
}

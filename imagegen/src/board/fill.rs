//! What the path of an image may leave open until it is built: `{release}` and `{build}`, so that the images of two kernels, or
//! of one before and after an update, lie side by side.

use super::{Board, FilePath, Source, value};
use crate::{Error, Result};

/// The kernel's release, as `uname -r` says it.
const RELEASE: &str = "{release}";
/// Eight digits that differ from build to build.
const BUILD: &str = "{build}";

impl Board {
    /// Puts the kernel's release and the build's digits into the paths of images. Each is called if a path asks
    /// for it.
    ///
    /// # Errors
    /// As `release`; bad input if a path is none any more.
    pub fn fill(&mut self, release: &dyn Fn() -> Result<String>, build: &dyn Fn() -> String) -> Result<()> {
        for slot in &mut self.slots {
            let Source::File { path: FilePath::At(path), .. } = &mut slot.source else { continue };
            if path.contains(RELEASE) {
                *path = path.replace(RELEASE, &release()?);
            }
            if path.contains(BUILD) {
                *path = path.replace(BUILD, &build());
            }
            if !value::is_path(path) {
                let what = format!("board {}: slot {}: {path:?} is no path", self.name, slot.name);
                return Err(Error::bad_input(
                    what,
                    "give a shorter slot.file, at most 255 bytes, and a kernel's release",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::board::{Board, FilePath, Source, draft};
    use crate::{Error, Result};
    use std::path::Path;

    fn board(file: &str) -> Board {
        let text = format!(
            "name = \"b\"\narchitecture = \"armv7\"\n[[slot]]\nname = \"a\"\nsource = \"file\"\nlabel = \"boot\"\n\
             filesystem = \"ext4\"\nfile = \"{file}\"\n"
        );
        draft::check(Path::new("b.toml"), &text).unwrap()
    }

    fn filled(file: &str, release: Result<&str>) -> Result<String> {
        let mut board = board(file);
        let release = release.map(str::to_owned);
        let said = || release.as_ref().map(Clone::clone).map_err(|error| Error::bad_input(&error.what, &error.hint));
        board.fill(&said, &|| "0123abcd".to_owned())?;
        match &board.slots[0].source {
            Source::File { path: FilePath::At(path), .. } => Ok(path.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn release_and_build_are_put_in() {
        assert_eq!(filled("/i-{release}-{build}.erofs", Ok("6.12.1")).unwrap(), "/i-6.12.1-0123abcd.erofs");
        // A path that asks for nothing needs no kernel.
        let unknown = || Err(Error::bad_input("no kernel", "name one"));
        assert_eq!(filled("/i.erofs", unknown()).unwrap(), "/i.erofs");
        assert_eq!(filled("/{release}", unknown()).unwrap_err().what, "no kernel");
        for wrong in ["..", "", "a//b", &"x".repeat(255)] {
            assert_eq!(filled("/{release}", Ok(wrong)).unwrap_err().exit_status(), 2, "{wrong}");
        }
    }
}

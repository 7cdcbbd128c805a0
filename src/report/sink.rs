//! Where the files go: checked before the run, written after it, whole or not at all.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Everything, by the versioned schema.
    Json,
    /// One row for each repetition and kind.
    Csv,
    /// The percentile distribution.
    Hgrm,
    /// That of one protocol and one number of threads of a comparison, by their places in its plan.
    CellHgrm {
        /// The protocol's place.
        protocol: usize,
        /// The place of the number of threads.
        threads: usize,
    },
    /// The interval log.
    Hlog,
    /// The tables as Markdown.
    Markdown,
}

impl Output {
    /// The flag that asks for it.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Output::Json => "--json",
            Output::Csv => "--csv",
            Output::Hgrm | Output::CellHgrm { .. } => "--hgrm",
            Output::Hlog => "--hlog",
            Output::Markdown => "--markdown",
        }
    }
}

/// A file that cannot be written.
#[derive(Debug)]
pub struct OutputError {
    output: Output,
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Io(io::Error),
    SameAs(Output),
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flag, path) = (self.output.flag(), self.path.display());
        match &self.problem {
            Problem::Io(error) => {
                write!(f, "{flag} {path}: cannot write: {error}; choose another file")
            }
            Problem::SameAs(other) => {
                write!(f, "{flag} {path}: {} names the same file; choose another one", other.flag())
            }
        }
    }
}

impl std::error::Error for OutputError {}

/// Writes one kind of file.
pub type WriteOutput<'a> = &'a dyn Fn(Output, &mut dyn Write) -> io::Result<()>;

/// The files that a run is to write.
#[derive(Debug, Default)]
pub struct Outputs {
    files: Vec<(Output, PathBuf)>,
}

impl Outputs {
    /// Checks that every file can be written, and that no two are the same.
    pub fn open(files: Vec<(Output, PathBuf)>) -> Result<Self, OutputError> {
        for (index, (output, path)) in files.iter().enumerate() {
            let fail = |problem| OutputError { output: *output, path: path.clone(), problem };
            if let Some((other, _)) = files[..index].iter().find(|(_, earlier)| earlier == path) {
                return Err(fail(Problem::SameAs(*other)));
            }
            check(path).map_err(|error| fail(Problem::Io(error)))?;
        }
        Ok(Outputs { files })
    }

    /// Whether a file of this kind is to be written.
    #[must_use]
    pub fn contains(&self, output: Output) -> bool {
        self.files.iter().any(|(other, _)| *other == output)
    }

    /// Writes all files, each with what `write` makes for it; a failure of one does not keep the
    /// others from being written.
    #[must_use]
    pub fn write(&self, write: WriteOutput<'_>) -> Vec<OutputError> {
        let mut errors = Vec::new();
        for (output, path) in &self.files {
            if let Err(error) = write_whole(path, &mut |out| write(*output, out)) {
                let problem = Problem::Io(error);
                errors.push(OutputError { output: *output, path: path.clone(), problem });
            }
        }
        errors
    }
}

/// Whether the path names something that is there and is no plain file: a device, a pipe. Such a
/// thing cannot be replaced, only written to.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| !data.is_file() && !data.is_dir())
}

/// The file that is written first and takes the place of `path` when it is complete.
fn draft_path(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("this is not a file name"))?;
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name);
    draft.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(draft))
}

fn check(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::Error::other("this is a directory"));
    }
    if is_special(path) {
        // Opening a pipe waits for its reader, so whether it can be written shows at the end.
        return Ok(());
    }
    if path.exists() {
        OpenOptions::new().append(true).open(path)?;
    }
    let draft = draft_path(path)?;
    OpenOptions::new().write(true).create_new(true).open(&draft)?;
    std::fs::remove_file(&draft)
}

fn write_whole(
    path: &Path,
    write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    if is_special(path) {
        let mut out = BufWriter::new(OpenOptions::new().write(true).open(path)?);
        write(&mut out)?;
        return out.flush();
    }
    let draft = draft_path(path)?;
    let written = write_draft(&draft, write).and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        // What is left of the draft is of no use; that it cannot be removed changes nothing.
        let _ = std::fs::remove_file(&draft);
    }
    written
}

fn write_draft(
    draft: &Path,
    write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(draft)?);
    write(&mut out)?;
    // The data must be on the disk before the name points to it, or a crash leaves an empty file.
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let path = std::env::temp_dir().join(format!("chronolith-sink-{}", std::process::id()));
        write_whole(&path, &mut |out| out.write_all(b"old")).expect("writable");
        let failed = write_whole(&path, &mut |out| {
            out.write_all(b"new, but")?;
            Err(io::Error::other("the disk is full"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).expect("readable"), b"old");
        assert!(!draft_path(&path).expect("a name").exists());
        std::fs::remove_file(&path).expect("removable");
    }
}

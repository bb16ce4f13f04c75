use std::path::{Path, PathBuf};

/// What can go wrong with a run's files or with what a user wrote. Each text is a lower-case
/// fragment that names the file, and the line where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation on a file.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// What was tried, as in "cannot …".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A line of a file does not say what its format asks for.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// A scenario or another configuration file is not what it should be.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column in characters, from 1.
        column: u64,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A value given for a setting does not fit it.
    #[error("`{text}` is not {wanted}")]
    Setting {
        /// What was given.
        text: String,
        /// What would be right, as in "is not …".
        wanted: String,
    },
    /// A directory is not a run's.
    #[error("{}: not a run directory: {problem}", path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// A file of a run has a format version that this program does not read.
    #[error(
        "{}: {what} format {found}, but this program reads format {supported}; use a newer one",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Which format.
        what: &'static str,
        /// The version found.
        found: u32,
        /// The version that can be read.
        supported: u32,
    },
}

impl Error {
    /// For `map_err` on an operation on `path`; `doing` as in "cannot …".
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { doing, path, source }
    }

    pub(crate) fn line(path: &Path, line: u64, problem: impl Into<String>) -> Error {
        Error::Line { path: path.to_path_buf(), line, problem: problem.into() }
    }

    pub(crate) fn setting(text: &str, wanted: impl Into<String>) -> Error {
        Error::Setting { text: text.to_string(), wanted: wanted.into() }
    }
}

-- Paths are those of record::RelativePath. Times are seconds since 1970 unless their name says otherwise.
CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT;

-- Processes that work in this folder. One is alive while it holds the lock on .bestbox/run/ID.lock.
CREATE TABLE owners (
    id   TEXT PRIMARY KEY NOT NULL,
    host TEXT NOT NULL,
    -- Its last sign of life: what counts where locks of another host are not seen.
    beat INTEGER NOT NULL
) STRICT;

-- What a process is working on: a file, or a content under some settings.
CREATE TABLE claims (key TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL) STRICT;

-- Files of IN and what became of them.
CREATE TABLE files (
    root      TEXT NOT NULL,
    path      TEXT NOT NULL,
    bytes     INTEGER NOT NULL,
    -- Nanoseconds.
    modified  INTEGER NOT NULL,
    inode     INTEGER NOT NULL,
    -- SHA-256 of the bytes, where they were read.
    content   TEXT,
    -- Hash of the settings that matter, and which outputs were wanted under which name.
    settings  TEXT NOT NULL,
    shape     TEXT NOT NULL,
    base      TEXT NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('done', 'failed')),
    -- Whether a failure may pass by itself.
    transient INTEGER NOT NULL,
    -- Whether the command of --then is still to be run.
    pending   INTEGER NOT NULL,
    record    TEXT NOT NULL,
    PRIMARY KEY (root, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX files_by_content ON files (content);

-- Outcomes by content and settings.
CREATE TABLE results (
    key     TEXT PRIMARY KEY NOT NULL,
    outcome TEXT NOT NULL,
    seconds REAL NOT NULL,
    summary TEXT NOT NULL,
    made    INTEGER NOT NULL
) STRICT;

-- Files that bestbox wrote, with the SHA-256 of what it wrote last and before: one that holds something else was edited.
CREATE TABLE outputs (
    path     TEXT PRIMARY KEY NOT NULL,
    root     TEXT NOT NULL,
    source   TEXT NOT NULL,
    sha      TEXT NOT NULL,
    previous TEXT
) STRICT;

-- What was recognised, by the utterance's first sample; kept, so that another cleanup needs no recognition.
CREATE TABLE parts (
    key    TEXT NOT NULL,
    sample INTEGER NOT NULL,
    part   TEXT NOT NULL,
    -- How often it was recognised: more than once only where a crash cost it.
    times  INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (key, sample)
) STRICT, WITHOUT ROWID;

-- Text made of it, until its file is done.
CREATE TABLE texts (
    key     TEXT NOT NULL,
    sample  INTEGER NOT NULL,
    written TEXT NOT NULL,
    PRIMARY KEY (key, sample)
) STRICT, WITHOUT ROWID;

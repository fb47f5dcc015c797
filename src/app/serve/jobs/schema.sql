-- Ids are UUIDs version 7 in hexadecimal: their order is the order of creation. Times are milliseconds since 1970.
CREATE TABLE jobs (
    id           TEXT PRIMARY KEY NOT NULL,
    client       TEXT NOT NULL,
    idempotency  TEXT,
    fingerprint  TEXT NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('queued', 'running', 'finished', 'failed', 'cancelled')),
    name         TEXT NOT NULL,
    bytes        INTEGER NOT NULL,
    form         TEXT NOT NULL,
    created      INTEGER NOT NULL,
    started      INTEGER,
    finished     INTEGER,
    -- When work on it was last taken up, and how often it was.
    begun        INTEGER,
    attempts     INTEGER NOT NULL DEFAULT 0,
    -- What the kept utterances were made with; they count for nothing under another plan or model.
    basis        TEXT,
    -- How often the process died while this job was in work and got nothing done.
    crashes      INTEGER NOT NULL DEFAULT 0,
    -- Attempts that ended for a reason that passes, and when the next one is due.
    tries        INTEGER NOT NULL DEFAULT 0,
    not_before   INTEGER NOT NULL DEFAULT 0,
    waiting      TEXT,
    format       TEXT,
    duration     REAL,
    seconds      REAL NOT NULL DEFAULT 0,
    -- Utterances that are done, and how often one was recognised: more only where a crash cost one.
    utterances   INTEGER NOT NULL DEFAULT 0,
    recognitions INTEGER NOT NULL DEFAULT 0,
    error        TEXT,
    result_bytes INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX jobs_by_status ON jobs (status, id);
CREATE INDEX jobs_by_client ON jobs (client, id);
CREATE UNIQUE INDEX jobs_by_idempotency ON jobs (client, idempotency) WHERE idempotency IS NOT NULL;

-- What is done of a job, utterance by utterance, by the utterance's first sample.
CREATE TABLE utterances (
    job     TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    sample  INTEGER NOT NULL,
    part    TEXT NOT NULL,
    written TEXT,
    PRIMARY KEY (job, sample)
) STRICT, WITHOUT ROWID;

-- What happened, in the order in which it is shown.
CREATE TABLE events (
    job  TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    seq  INTEGER NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE results (
    job     TEXT PRIMARY KEY NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    outcome TEXT NOT NULL
) STRICT;

CREATE TABLE webhooks (
    job      TEXT PRIMARY KEY NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    url      TEXT NOT NULL,
    -- waiting: the job is not over; due: to be sent; delivered; failed: given up.
    state    TEXT NOT NULL CHECK (state IN ('waiting', 'due', 'delivered', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    next     INTEGER NOT NULL DEFAULT 0,
    problem  TEXT
) STRICT;

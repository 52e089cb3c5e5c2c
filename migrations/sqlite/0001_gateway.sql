-- STRICT: a column holds what it is declared to, as in PostgreSQL. INTEGER has 64 bits here.

-- One row. Each transaction that changes configuration begins by counting it up: one comes after the other, and every
-- process sees from the number that something changed.
CREATE TABLE changes (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    n INTEGER NOT NULL
) STRICT;
INSERT INTO changes (id, n) VALUES (1, 0);

-- One row: the id of the master key that new values are sealed under. NULL before the first.
CREATE TABLE master_key (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    key_id TEXT
) STRICT;
INSERT INTO master_key (id, key_id) VALUES (1, NULL);

-- One row, that readiness checks write to.
CREATE TABLE heartbeat (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
INSERT INTO heartbeat (id, at) VALUES (1, 0);

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    hash BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    user_name TEXT,
    name TEXT NOT NULL,
    hint TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE INDEX api_keys_of_project ON api_keys (project_id);

CREATE TABLE connections (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    integration TEXT NOT NULL,
    slug TEXT NOT NULL,
    mode TEXT NOT NULL,
    status TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    last_error TEXT,
    identity TEXT,
    scopes TEXT,
    expires_at INTEGER,
    visibility TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, id),
    UNIQUE (project_id, slug)
) STRICT;

-- A field holds a sealed value, or names the secret that holds it.
CREATE TABLE connection_fields (
    project_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    field TEXT NOT NULL,
    key_id TEXT,
    nonce BLOB,
    ciphertext BLOB,
    secret_name TEXT,
    PRIMARY KEY (project_id, connection_id, kind, field),
    FOREIGN KEY (project_id, connection_id) REFERENCES connections (project_id, id) ON DELETE CASCADE,
    CHECK ((secret_name IS NULL) = (key_id IS NOT NULL AND nonce IS NOT NULL AND ciphertext IS NOT NULL))
) STRICT;

CREATE TABLE secrets (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    mask TEXT NOT NULL,
    key_id TEXT NOT NULL,
    nonce BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, name)
) STRICT;

CREATE TABLE uploads (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    slug TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    package BLOB NOT NULL,
    PRIMARY KEY (project_id, slug)
) STRICT;

-- No foreign key: a record that comes after its project was deleted must not stop the batch that it is in.
CREATE TABLE executions (
    project_id TEXT NOT NULL,
    id TEXT NOT NULL,
    user_name TEXT,
    key_id TEXT NOT NULL,
    agent TEXT,
    connection_id TEXT,
    connection_slug TEXT,
    integration TEXT,
    tool TEXT NOT NULL,
    operation TEXT,
    connector_version INTEGER,
    connector_digest TEXT,
    outcome TEXT NOT NULL,
    code TEXT,
    started_at INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    queue_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    request_id TEXT,
    message TEXT,
    http TEXT NOT NULL,
    logs TEXT NOT NULL,
    arguments TEXT NOT NULL,
    PRIMARY KEY (project_id, id)
) STRICT;
CREATE INDEX executions_of_user ON executions (project_id, user_name, id);
CREATE INDEX executions_by_age ON executions (started_at);

-- Texts compare byte by byte ("C"), as they do in SQLite: both list in the same order.

-- One row. Each transaction that changes configuration begins by counting it up: one comes after the other, and every
-- process sees from the number that something changed.
CREATE TABLE changes (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    n BIGINT NOT NULL
);
INSERT INTO changes (id, n) VALUES (1, 0);

-- One row: the id of the master key that new values are sealed under. NULL before the first.
CREATE TABLE master_key (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    key_id TEXT COLLATE "C"
);
INSERT INTO master_key (id, key_id) VALUES (1, NULL);

-- One row, that readiness checks write to.
CREATE TABLE heartbeat (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    at BIGINT NOT NULL
);
INSERT INTO heartbeat (id, at) VALUES (1, 0);

CREATE TABLE projects (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE api_keys (
    id TEXT COLLATE "C" PRIMARY KEY,
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    hash BYTEA NOT NULL UNIQUE,
    role TEXT COLLATE "C" NOT NULL,
    user_name TEXT COLLATE "C",
    name TEXT COLLATE "C" NOT NULL,
    hint TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX api_keys_of_project ON api_keys (project_id);

CREATE TABLE connections (
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    integration TEXT COLLATE "C" NOT NULL,
    slug TEXT COLLATE "C" NOT NULL,
    mode TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C",
    last_error TEXT COLLATE "C",
    identity TEXT COLLATE "C",
    scopes TEXT COLLATE "C",
    expires_at BIGINT,
    visibility TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, id),
    UNIQUE (project_id, slug)
);

-- A field holds a sealed value, or names the secret that holds it.
CREATE TABLE connection_fields (
    project_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    field TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C",
    nonce BYTEA,
    ciphertext BYTEA,
    secret_name TEXT COLLATE "C",
    PRIMARY KEY (project_id, connection_id, kind, field),
    FOREIGN KEY (project_id, connection_id) REFERENCES connections (project_id, id) ON DELETE CASCADE,
    CHECK ((secret_name IS NULL) = (key_id IS NOT NULL AND nonce IS NOT NULL AND ciphertext IS NOT NULL))
);

CREATE TABLE secrets (
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    mask TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    nonce BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, name)
);

CREATE TABLE uploads (
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    slug TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    digest TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    package BYTEA NOT NULL,
    PRIMARY KEY (project_id, slug)
);

-- No foreign key: a record that comes after its project was deleted must not stop the batch that it is in.
CREATE TABLE executions (
    project_id TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    user_name TEXT COLLATE "C",
    key_id TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C",
    connection_id TEXT COLLATE "C",
    connection_slug TEXT COLLATE "C",
    integration TEXT COLLATE "C",
    tool TEXT COLLATE "C" NOT NULL,
    operation TEXT COLLATE "C",
    connector_version BIGINT,
    connector_digest TEXT COLLATE "C",
    outcome TEXT COLLATE "C" NOT NULL,
    code TEXT COLLATE "C",
    started_at BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    queue_ms BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    request_id TEXT COLLATE "C",
    message TEXT COLLATE "C",
    http TEXT COLLATE "C" NOT NULL,
    logs TEXT COLLATE "C" NOT NULL,
    arguments TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (project_id, id)
);
CREATE INDEX executions_of_user ON executions (project_id, user_name, id);
CREATE INDEX executions_by_age ON executions (started_at);

-- Calls that a person must confirm. What decides whether it may still run is in `hash`; `fingerprint` adds who asked, so that
-- the same call asked again is the same approval while it waits. `arguments` is what is shown: without secrets.
CREATE TABLE approvals (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    status TEXT NOT NULL,
    user_name TEXT,
    asked_key TEXT NOT NULL,
    asked_role TEXT NOT NULL,
    agent TEXT,
    integration TEXT NOT NULL,
    operation TEXT NOT NULL,
    operation_type TEXT NOT NULL,
    connection_id TEXT,
    connection_slug TEXT,
    account TEXT,
    connector_version INTEGER NOT NULL,
    connector_digest TEXT NOT NULL,
    hash TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    arguments TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    holder TEXT,
    running_until INTEGER,
    decided_at INTEGER,
    decided_user TEXT,
    decided_key TEXT,
    reason TEXT,
    ended_at INTEGER,
    execution_id TEXT,
    code TEXT,
    PRIMARY KEY (project_id, id),
    CHECK ((connection_id IS NULL) = (connection_slug IS NULL)),
    CHECK ((decided_at IS NULL) = (decided_key IS NULL)),
    CHECK (status <> 'RUNNING' OR (holder IS NOT NULL AND running_until IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX approvals_waiting ON approvals (project_id, fingerprint) WHERE status = 'PENDING';
CREATE INDEX approvals_of_user ON approvals (project_id, user_name, id);
CREATE INDEX approvals_by_end ON approvals (status, expires_at);
CREATE INDEX approvals_by_age ON approvals (ended_at);

-- What is secret about an approval, each sealed: the arguments until it has ended, then what came of it.
CREATE TABLE approval_values (
    project_id TEXT NOT NULL,
    approval_id TEXT NOT NULL,
    field TEXT NOT NULL,
    key_id TEXT NOT NULL,
    nonce BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    PRIMARY KEY (project_id, approval_id, field),
    FOREIGN KEY (project_id, approval_id) REFERENCES approvals (project_id, id) ON DELETE CASCADE
) STRICT;

-- The execution that left an approval, and the one that it let run.
ALTER TABLE executions ADD COLUMN approval_id TEXT;

-- Whether people may approve the calls that were asked for on their own behalf.
ALTER TABLE projects ADD COLUMN approve_own_calls INTEGER NOT NULL DEFAULT 1;

-- Where a project is told of its approvals, and the sealed key that this is signed with.
CREATE TABLE approval_webhooks (
    project_id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    key_id TEXT NOT NULL,
    nonce BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- What is still to be told.
CREATE TABLE webhook_deliveries (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    payload TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    last_error TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, id)
) STRICT;
CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (next_at);

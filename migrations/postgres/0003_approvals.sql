-- Calls that a person must confirm. What decides whether it may still run is in `hash`; `fingerprint` adds who asked, so that
-- the same call asked again is the same approval while it waits. `arguments` is what is shown: without secrets.
CREATE TABLE approvals (
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    user_name TEXT COLLATE "C",
    asked_key TEXT COLLATE "C" NOT NULL,
    asked_role TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C",
    integration TEXT COLLATE "C" NOT NULL,
    operation TEXT COLLATE "C" NOT NULL,
    operation_type TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C",
    connection_slug TEXT COLLATE "C",
    account TEXT COLLATE "C",
    connector_version BIGINT NOT NULL,
    connector_digest TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT COLLATE "C" NOT NULL,
    arguments TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    holder TEXT COLLATE "C",
    running_until BIGINT,
    decided_at BIGINT,
    decided_user TEXT COLLATE "C",
    decided_key TEXT COLLATE "C",
    reason TEXT COLLATE "C",
    ended_at BIGINT,
    execution_id TEXT COLLATE "C",
    code TEXT COLLATE "C",
    PRIMARY KEY (project_id, id),
    CHECK ((connection_id IS NULL) = (connection_slug IS NULL)),
    CHECK ((decided_at IS NULL) = (decided_key IS NULL)),
    CHECK (status <> 'RUNNING' OR (holder IS NOT NULL AND running_until IS NOT NULL))
);
CREATE UNIQUE INDEX approvals_waiting ON approvals (project_id, fingerprint) WHERE status = 'PENDING';
CREATE INDEX approvals_of_user ON approvals (project_id, user_name, id);
CREATE INDEX approvals_by_end ON approvals (status, expires_at);
CREATE INDEX approvals_by_age ON approvals (ended_at);

-- What is secret about an approval, each sealed: the arguments until it has ended, then what came of it.
CREATE TABLE approval_values (
    project_id TEXT COLLATE "C" NOT NULL,
    approval_id TEXT COLLATE "C" NOT NULL,
    field TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    nonce BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL,
    PRIMARY KEY (project_id, approval_id, field),
    FOREIGN KEY (project_id, approval_id) REFERENCES approvals (project_id, id) ON DELETE CASCADE
);

-- The execution that left an approval, and the one that it let run.
ALTER TABLE executions ADD COLUMN approval_id TEXT COLLATE "C";

-- Whether people may approve the calls that were asked for on their own behalf.
ALTER TABLE projects ADD COLUMN approve_own_calls BIGINT NOT NULL DEFAULT 1;

-- Where a project is told of its approvals, and the sealed key that this is signed with.
CREATE TABLE approval_webhooks (
    project_id TEXT COLLATE "C" PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    url TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    nonce BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);

-- What is still to be told.
CREATE TABLE webhook_deliveries (
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id TEXT COLLATE "C" NOT NULL,
    payload TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    last_error TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, id)
);
CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (next_at);

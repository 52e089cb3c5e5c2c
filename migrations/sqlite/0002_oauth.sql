-- Clients of authorization servers, by integration. The secret is sealed, or is that of a workspace secret; a public client
-- has none. The id may be that of a workspace secret too.
CREATE TABLE oauth_apps (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    integration TEXT NOT NULL,
    name TEXT NOT NULL,
    client_id TEXT,
    client_id_secret_name TEXT,
    token_auth TEXT NOT NULL,
    authorize_params TEXT NOT NULL,
    mask TEXT,
    key_id TEXT,
    nonce BLOB,
    ciphertext BLOB,
    secret_name TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, integration, name),
    CHECK ((client_id IS NULL) = (client_id_secret_name IS NOT NULL)),
    CHECK ((key_id IS NULL) = (nonce IS NULL) AND (key_id IS NULL) = (ciphertext IS NULL)),
    CHECK (key_id IS NULL OR secret_name IS NULL)
) STRICT;

-- What a connection's tokens came of. `generation` counts their replacements. A process that refreshes them holds the row
-- until `refresh_until`; `refresh_sent_at` stands from before its request leaves until the answer is saved.
CREATE TABLE oauth_grants (
    project_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    app TEXT,
    requested_scopes TEXT NOT NULL,
    subject TEXT,
    generation INTEGER NOT NULL,
    obtained_at INTEGER,
    refresh_holder TEXT,
    refresh_until INTEGER,
    refresh_sent_at INTEGER,
    failures INTEGER NOT NULL,
    retry_at INTEGER,
    PRIMARY KEY (project_id, connection_id),
    FOREIGN KEY (project_id, connection_id) REFERENCES connections (project_id, id) ON DELETE CASCADE
) STRICT;

-- Consents under way, by the hash of their state. What is sealed is wiped when the consent has ended.
CREATE TABLE oauth_flows (
    state_hash TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    user_name TEXT NOT NULL,
    kind TEXT NOT NULL,
    app TEXT,
    scopes TEXT NOT NULL,
    redirect_uri TEXT,
    callback_url TEXT,
    key_id TEXT,
    nonce BLOB,
    ciphertext BLOB,
    browser_hash TEXT,
    confirm_hash TEXT UNIQUE,
    poll_at INTEGER,
    poll_interval_ms INTEGER,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    FOREIGN KEY (project_id, connection_id) REFERENCES connections (project_id, id) ON DELETE CASCADE,
    CHECK ((key_id IS NULL) = (nonce IS NULL) AND (key_id IS NULL) = (ciphertext IS NULL))
) STRICT;
CREATE INDEX oauth_flows_of_connection ON oauth_flows (project_id, connection_id);
CREATE INDEX oauth_flows_by_end ON oauth_flows (expires_at);

-- Tokens still to be revoked, of connections that are gone.
CREATE TABLE oauth_revocations (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    integration TEXT NOT NULL,
    connection_slug TEXT NOT NULL,
    key_id TEXT NOT NULL,
    nonce BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    last_error TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, id)
) STRICT;
CREATE INDEX oauth_revocations_by_time ON oauth_revocations (next_at);

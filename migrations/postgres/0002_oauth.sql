-- Clients of authorization servers, by integration. The secret is sealed, or is that of a workspace secret; a public client
-- has none. The id may be that of a workspace secret too.
CREATE TABLE oauth_apps (
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    integration TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    client_id TEXT COLLATE "C",
    client_id_secret_name TEXT COLLATE "C",
    token_auth TEXT COLLATE "C" NOT NULL,
    authorize_params TEXT COLLATE "C" NOT NULL,
    mask TEXT COLLATE "C",
    key_id TEXT COLLATE "C",
    nonce BYTEA,
    ciphertext BYTEA,
    secret_name TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, integration, name),
    CHECK ((client_id IS NULL) = (client_id_secret_name IS NOT NULL)),
    CHECK ((key_id IS NULL) = (nonce IS NULL) AND (key_id IS NULL) = (ciphertext IS NULL)),
    CHECK (key_id IS NULL OR secret_name IS NULL)
);

-- What a connection's tokens came of. `generation` counts their replacements. A process that refreshes them holds the row
-- until `refresh_until`; `refresh_sent_at` stands from before its request leaves until the answer is saved.
CREATE TABLE oauth_grants (
    project_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    app TEXT COLLATE "C",
    requested_scopes TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C",
    generation BIGINT NOT NULL,
    obtained_at BIGINT,
    refresh_holder TEXT COLLATE "C",
    refresh_until BIGINT,
    refresh_sent_at BIGINT,
    failures BIGINT NOT NULL,
    retry_at BIGINT,
    PRIMARY KEY (project_id, connection_id),
    FOREIGN KEY (project_id, connection_id) REFERENCES connections (project_id, id) ON DELETE CASCADE
);

-- Consents under way, by the hash of their state. What is sealed is wiped when the consent has ended.
CREATE TABLE oauth_flows (
    state_hash TEXT COLLATE "C" PRIMARY KEY,
    project_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    user_name TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    app TEXT COLLATE "C",
    scopes TEXT COLLATE "C" NOT NULL,
    redirect_uri TEXT COLLATE "C",
    callback_url TEXT COLLATE "C",
    key_id TEXT COLLATE "C",
    nonce BYTEA,
    ciphertext BYTEA,
    browser_hash TEXT COLLATE "C",
    confirm_hash TEXT COLLATE "C" UNIQUE,
    poll_at BIGINT,
    poll_interval_ms BIGINT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    FOREIGN KEY (project_id, connection_id) REFERENCES connections (project_id, id) ON DELETE CASCADE,
    CHECK ((key_id IS NULL) = (nonce IS NULL) AND (key_id IS NULL) = (ciphertext IS NULL))
);
CREATE INDEX oauth_flows_of_connection ON oauth_flows (project_id, connection_id);
CREATE INDEX oauth_flows_by_end ON oauth_flows (expires_at);

-- Tokens still to be revoked, of connections that are gone.
CREATE TABLE oauth_revocations (
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id TEXT COLLATE "C" NOT NULL,
    integration TEXT COLLATE "C" NOT NULL,
    connection_slug TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    nonce BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    last_error TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, id)
);
CREATE INDEX oauth_revocations_by_time ON oauth_revocations (next_at);

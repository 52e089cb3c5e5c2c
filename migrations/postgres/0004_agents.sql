-- Agents. `title` is what people call one, `declaration` is JSON: the connections that the agent needs.
CREATE TABLE agents (
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    title TEXT COLLATE "C" NOT NULL,
    declaration TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, name)
);

-- What agents may call, by connection. No foreign key to connections: a grant outlives its connection, so that a call to a tool
-- of one that is gone can say so. `slug` is kept equal to the connection's.
CREATE TABLE agent_grants (
    project_id TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    integration TEXT COLLATE "C" NOT NULL,
    slug TEXT COLLATE "C" NOT NULL,
    tools TEXT COLLATE "C" NOT NULL,
    approval TEXT COLLATE "C" NOT NULL,
    granted_role TEXT COLLATE "C" NOT NULL,
    granted_by TEXT COLLATE "C",
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, agent, connection_id),
    FOREIGN KEY (project_id, agent) REFERENCES agents (project_id, name) ON DELETE CASCADE
);
CREATE INDEX agent_grants_of_connection ON agent_grants (project_id, connection_id);

-- Agents. `title` is what people call one, `declaration` is JSON: the connections that the agent needs.
CREATE TABLE agents (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    declaration TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, name)
) STRICT;

-- What agents may call, by connection. No foreign key to connections: a grant outlives its connection, so that a call to a tool
-- of one that is gone can say so. `slug` is kept equal to the connection's.
CREATE TABLE agent_grants (
    project_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    integration TEXT NOT NULL,
    slug TEXT NOT NULL,
    tools TEXT NOT NULL,
    approval TEXT NOT NULL,
    granted_role TEXT NOT NULL,
    granted_by TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, agent, connection_id),
    FOREIGN KEY (project_id, agent) REFERENCES agents (project_id, name) ON DELETE CASCADE
) STRICT;
CREATE INDEX agent_grants_of_connection ON agent_grants (project_id, connection_id);

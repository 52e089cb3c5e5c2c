//! tiberius as a client, as the SQL Server connector uses it.

use std::future::Future;

use portcullis_test_servers::tds::TdsServer;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use crate::support::{DATABASE, PASSWORD, PATIENCE, USER};

pub(crate) type Connected = Client<Compat<TcpStream>>;

/// Runs a test's client, for as long as a test may take.
pub(crate) fn run<T>(client: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, client).await.expect("the client waits forever") })
}

pub(crate) fn config(encryption: EncryptionLevel) -> Config {
    let mut config = Config::new();
    config.host("localhost");
    config.database(DATABASE);
    config.application_name("tests");
    config.authentication(AuthMethod::sql_server(USER, PASSWORD));
    config.encryption(encryption);
    config
}

pub(crate) async fn connect(server: &TdsServer, config: Config) -> tiberius::Result<Connected> {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    Box::pin(Client::connect(config, stream.compat_write())).await
}

pub(crate) async fn connect_plainly(server: &TdsServer) -> Connected {
    connect(server, config(EncryptionLevel::NotSupported)).await.unwrap()
}

pub(crate) async fn select_one(client: &mut Connected) -> i32 {
    let row = client.simple_query("select 1").await.unwrap().into_row().await.unwrap().unwrap();
    row.get(0).unwrap()
}

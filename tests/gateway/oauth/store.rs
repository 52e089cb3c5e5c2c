//! The store from beside: what a test changes or reads in the database itself.

use sqlx::{Connection as _, SqliteConnection};

use crate::support::Place;

/// Runs a statement in the store.
#[track_caller]
pub(crate) fn execute(place: &Place, sql: &'static str) {
    if let Some(database) = place.database() {
        database.execute(sql);
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let file = place.data().join("portcullis.db");
        let mut connection =
            SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        connection.close().await.unwrap();
    });
}

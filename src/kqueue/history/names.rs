//! Names of classes and queues, and their ids in the file.

use std::collections::HashMap;

use sqlx::SqliteConnection;

/// Maximum names in the cache.
const MOST: usize = 4_096;

/// A cache of ids.
#[derive(Debug, Default)]
pub struct Names(HashMap<String, i64>);

impl Names {
    /// The id of a name, which is inserted if it is new.
    pub async fn id(&mut self, connection: &mut SqliteConnection, name: &str) -> sqlx::Result<i64> {
        if let Some(id) = self.0.get(name) {
            return Ok(*id);
        }
        let known: Option<i64> = sqlx::query_scalar("SELECT id FROM names WHERE name = ?1")
            .bind(name)
            .fetch_optional(&mut *connection)
            .await?;
        let id = match known {
            Some(id) => id,
            None => {
                let made = sqlx::query("INSERT INTO names (name) VALUES (?1)").bind(name).execute(connection).await?;
                made.last_insert_rowid()
            }
        };
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(name.to_owned(), id);
        Ok(id)
    }

    /// Empties the cache, as rows may have been removed.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

/// Ids of the classes with this name, in full or as their last part. May include queues of that name.
pub async fn classes(connection: &mut SqliteConnection, name: &str) -> sqlx::Result<Vec<i64>> {
    let ids: Vec<(i64,)> =
        sqlx::query_as("SELECT id FROM names WHERE name = ?1 OR substr(name, -length(?2)) = ?2 LIMIT 50")
            .bind(name)
            .bind(format!("\\{name}"))
            .fetch_all(connection)
            .await?;
    Ok(ids.into_iter().map(|(id,)| id).collect())
}

//! The steps that bring a database's tables to what this build expects, in order. They are part of the program: sqlx's
//! `migrate!` would do the same, at the price of building sqlx and SQLite a second time, for its macros.

use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The name of each file in `migrations/`: a number and what it is for. Files that were released never change.
const FILES: &[(&str, &str)] = &[
    ("0001_first.sql", include_str!("migrations/0001_first.sql")),
    ("0002_folders.sql", include_str!("migrations/0002_folders.sql")),
    ("0003_clock.sql", include_str!("migrations/0003_clock.sql")),
    ("0004_stopped_devices.sql", include_str!("migrations/0004_stopped_devices.sql")),
];

/// Brings tables up to date.
pub(super) fn migrator() -> Migrator {
    let migrations = FILES.iter().map(|&(file, sql)| {
        let (version, description) = split(file);
        let description = Cow::Owned(description.replace('_', " "));
        Migration::new(version, description, MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

fn split(file: &'static str) -> (i64, &'static str) {
    let name = file.strip_suffix(".sql").unwrap_or(file);
    let (version, description) = name.split_once('_').unwrap_or((name, ""));
    (version.parse().unwrap_or(0), description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_part_of_the_program_under_a_number_of_its_own_and_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/sqlite/migrations");
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        found.sort();
        assert_eq!(found, FILES.iter().map(|(file, _)| *file).collect::<Vec<_>>());
        let versions: Vec<i64> = migrator().iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..=FILES.len() as i64).collect::<Vec<_>>());
    }
}

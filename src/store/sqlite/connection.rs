//! Connections: how a file is opened, and every setting that is not SQLite's default.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, MAIN_DB, OpenFlags};

use super::Site;
use crate::store::error::StoreError;
use crate::store::files;

/// SQLite before this could corrupt a database when a WAL was reset (fixed in 3.51.3).
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long a checkpoint waits for readers that still need the WAL.
const READERS_MAY_TAKE: Duration = Duration::from_millis(250);

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The one connection that writes.
pub(super) fn writer(site: &Site) -> Result<Connection, StoreError> {
    let version = rusqlite::version_number();
    if version < OLDEST_SQLITE {
        return Err(site.engine(&format!("SQLite {} can corrupt it", rusqlite::version())));
    }
    check_header(site, &files::private_file(&site.path)?)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&site.path, flags).map_err(|error| site.error(error))?;
    if connection.is_readonly(MAIN_DB).map_err(|error| site.error(error))? {
        return Err(site.engine(&"the file cannot be written"));
    }
    configure_writer(&connection).map_err(|error| site.error(error))?;
    Ok(connection)
}

/// A connection that only reads. The writer must have opened the file before.
pub(super) fn reader(site: &Site) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(&site.path, flags)?;
        configure(&connection)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok::<_, rusqlite::Error>(connection)
    };
    open().map_err(|error| site.error(error))
}

fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    configure(connection)?;
    connection.busy_timeout(READERS_MAY_TAKE)?;
    // Closing is not a checkpoint: the applier's own is the only one, so that it knows what is durable.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Freed pages can be given back, a few at a time (`applier`). It must be said before anything is in the
    // file; one that was made without it stays as it is.
    connection.pragma_update(None, "auto_vacuum", "incremental")?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // What is erased is overwritten, not just unlinked.
    connection.pragma_update(None, "secure_delete", true)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // A file that somebody else prepared must not make the connection do anything but store.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // No temporary files: the sandbox has nowhere to put them.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Refuses what is not an SQLite file and one that is shorter than its header says. While a WAL is
/// there the header may speak of a checkpoint that was cut short, which SQLite itself recovers.
fn check_header(site: &Site, file: &File) -> Result<(), StoreError> {
    let io = |source| files::failed("cannot read", &site.path, source);
    let length = file.metadata().map_err(io)?.len();
    if length == 0 {
        return Ok(());
    }
    let mut header = [0_u8; 100];
    if length < 100 {
        return Err(site.damaged(length, "the file ends within its header".to_owned()));
    }
    file.read_exact_at(&mut header, 0).map_err(io)?;
    if !header.starts_with(MAGIC) {
        return Err(site.damaged(0, "not an SQLite database".to_owned()));
    }
    let mut wal = site.path.clone().into_os_string();
    wal.push("-wal");
    if std::fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0) {
        return Ok(());
    }
    let [.., high, low] = *header.first_chunk::<18>().unwrap_or(&[0; 18]);
    let page_size = match u16::from_be_bytes([high, low]) {
        1 => 65_536,
        size => u64::from(size),
    };
    let [.., a, b, c, d] = *header.first_chunk::<32>().unwrap_or(&[0; 32]);
    let expected = page_size * u64::from(u32::from_be_bytes([a, b, c, d]));
    if length < expected {
        return Err(site.damaged(length, format!("the file ends here, {expected} bytes were written")));
    }
    Ok(())
}

//! How much the data folder holds, by what it is, and how much room is left. Asked of the file system
//! when somebody scrapes: a handful of folders with a handful of files each.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::encode::{float, gauges, whole};
use crate::model::change::Namespace;

/// Looks at a data folder.
#[derive(Debug)]
pub struct Files {
    /// `data_dir`
    pub data_dir: PathBuf,
}

impl Collector for Files {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        let store = self.data_dir.join("store");
        let names = Namespace::ALL.iter().map(|namespace| namespace.name()).chain(["journal"]);
        let mut sizes: Vec<_> = names.map(|name| (name, float(bytes(&store.join(name))))).collect();
        sizes.push(("audit_heads", float(bytes(&self.data_dir.join("audit")))));
        sizes.push(("log", float(bytes(&self.data_dir.join("log")))));
        gauges(to, ("stored_bytes", "Size of the files in the data folder", "part"), sizes)?;
        match rustix::fs::statvfs(&self.data_dir) {
            Ok(disk) => {
                let (free, all) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
                whole(to, "disk_free_bytes", "Room left for the data folder", free)?;
                whole(to, "disk_bytes", "Size of the file system of the data folder", all)
            }
            Err(_) => Ok(()),
        }
    }
}

/// The files right in a folder; none if it is not there.
fn bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(|it| it.is_file())
        .map(|it| it.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_data_folder_are_told_apart_and_what_is_not_there_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("store/journal");
        fs::create_dir_all(&journal).unwrap();
        fs::write(journal.join("one"), [0; 1000]).unwrap();
        fs::write(journal.join("two"), [0; 24]).unwrap();
        let mut registry = prometheus_client::registry::Registry::with_prefix("keepgate");
        registry.register_collector(Box::new(Files { data_dir: folder.path().to_owned() }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in
            [r#"keepgate_stored_bytes{part="journal"} 1024.0"#, r#"keepgate_stored_bytes{part="auth"} 0.0"#]
        {
            assert!(text.lines().any(|have| have == line), "no {line} in\n{text}");
        }
        assert!(text.contains("keepgate_disk_free_bytes "), "{text}");
    }
}

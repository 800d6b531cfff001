//! The two slots of a disk: which one runs, which one is spare, and the partition table before and after the spare one is written.
//!
//! A slot is a pair of partitions, root data and hash tree, found by type in their order on the disk and told apart by the root hash in
//! their identities (UAPI.2, "verity"). So a slot under writing has other identities: no command line, signed before, leads to half of one.

use thiserror::Error;

use crate::gpt::{Attributes, GptError, PartName, PartNameError, Partition, Table};
use crate::guid::Guid;
use crate::verity::RootHash;

/// Label of a slot that holds nothing (systemd-sysupdate(8), `MatchPattern=`).
pub const EMPTY: &str = "_empty";

/// Why a disk has not the slots that it must have, or one cannot be named.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SlotsError {
    /// Not two of each.
    #[error(
        "the disk has {data} root and {hash} hash partitions, expected 2 of each: it was not made by `casemate flash`, or never started"
    )]
    Number {
        /// Partitions for root data.
        data: usize,
        /// Partitions for hash trees.
        hash: usize,
    },
    /// None of the slots is the running one.
    #[error("no slot of this disk has the root hash {0} that this host runs: it was started from another disk")]
    NotRunning(RootHash),
    /// Data of one and hash tree of the other.
    #[error("the partitions with the root hash {0} are not of one slot: the partition table was changed by others")]
    Torn(RootHash),
    /// The slots would be the same to the firmware.
    #[error("the new version has the root hash {0} that runs already: there is nothing to write")]
    SameAsRunning(RootHash),
    /// A label that does not fit.
    #[error(transparent)]
    Name(#[from] PartNameError),
    /// A table that is not valid.
    #[error(transparent)]
    Table(#[from] GptError),
}

/// Places of a slot's partitions in the table, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Root data.
    pub data: usize,
    /// Its hash tree.
    pub hash: usize,
}

/// The slots of a disk, seen by a host that runs from one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Nothing writes to it.
    pub running: Slot,
    /// What an update is written to.
    pub spare: Slot,
    root_hash: RootHash,
}

impl Slots {
    /// Finds them. `running` is the root hash of the command line that started the host.
    pub fn of(table: &Table, running: &RootHash) -> Result<Self, SlotsError> {
        let places = |wanted: Guid| -> Vec<usize> {
            let of_type = table.partitions().iter().enumerate().filter(|(_, partition)| partition.type_guid == wanted);
            of_type.map(|(place, _)| place).collect()
        };
        let (data, hash) = (places(Guid::ROOT_X86_64), places(Guid::ROOT_VERITY_X86_64));
        let (&[first, second], &[first_hash, second_hash]) = (data.as_slice(), hash.as_slice()) else {
            return Err(SlotsError::Number { data: data.len(), hash: hash.len() });
        };
        let slots = [Slot { data: first, hash: first_hash }, Slot { data: second, hash: second_hash }];
        let (data_guid, hash_guid) = running.partition_guids();
        let has = |place: usize, guid| table.partitions().get(place).is_some_and(|part| part.part_guid == guid);
        match slots.map(|slot| (has(slot.data, data_guid), has(slot.hash, hash_guid))) {
            [(true, true), _] => Ok(Self { running: slots[0], spare: slots[1], root_hash: *running }),
            [_, (true, true)] => Ok(Self { running: slots[1], spare: slots[0], root_hash: *running }),
            [(false, false), (false, false)] => Err(SlotsError::NotRunning(*running)),
            _ => Err(SlotsError::Torn(*running)),
        }
    }

    /// The table while the spare slot is written: it holds nothing. `unused` are two identities that nothing leads to, at random.
    pub fn with_spare_emptied(&self, table: &Table, unused: (Guid, Guid)) -> Result<Table, SlotsError> {
        self.with_spare(table, unused, (EMPTY.parse()?, EMPTY.parse()?))
    }

    /// The table once all of `root_hash` is in the spare slot and was read back; `label` is `IMAGE_VERSION`.
    pub fn with_spare_filled(&self, table: &Table, root_hash: &RootHash, label: &str) -> Result<Table, SlotsError> {
        if *root_hash == self.root_hash {
            return Err(SlotsError::SameAsRunning(*root_hash));
        }
        self.with_spare(table, root_hash.partition_guids(), (label.parse()?, format!("{label}_verity").parse()?))
    }

    fn with_spare(
        &self,
        table: &Table,
        (data, hash): (Guid, Guid),
        (data_name, hash_name): (PartName, PartName),
    ) -> Result<Table, SlotsError> {
        let mut partitions = table.partitions().to_vec();
        for (place, part_guid, name) in [(self.spare.data, data, data_name), (self.spare.hash, hash, hash_name)] {
            if let Some(partition) = partitions.get_mut(place) {
                // Nobody but a signed command line may pick it.
                let attributes = Attributes::READ_ONLY | Attributes::NO_AUTO;
                *partition = Partition { part_guid, attributes, name, ..partition.clone() };
            }
        }
        Ok(Table::new(table.sector_size(), table.disk_sectors(), table.disk_guid(), partitions)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpt::{DiskSize, PlannedPartition, SectorSize, plan_layout};

    const RUNNING: &str = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";
    const NEW: &str = "ffeeddccbbaa998877665544332211000fedcbab8a9b78695a4b3c2d1e0f0011";

    fn hash(text: &str) -> RootHash {
        text.parse().unwrap()
    }

    fn planned(type_guid: Guid, part_guid: Guid, name: &str) -> PlannedPartition {
        let attributes = Attributes::READ_ONLY;
        PlannedPartition { type_guid, part_guid, size_bytes: 8 << 20, attributes, name: name.parse().unwrap() }
    }

    /// ESP, slot A with these identities, slot B, state; as a host has them after its first boot.
    fn table(a: (Guid, Guid), b: (Guid, Guid)) -> Table {
        let own = |name: &str| Guid::derived_from(name);
        let partitions = [
            planned(Guid::ESP, own("esp"), "esp"),
            planned(Guid::ROOT_X86_64, a.0, "w_0.1.0"),
            planned(Guid::ROOT_VERITY_X86_64, a.1, "w_0.1.0_verity"),
            planned(Guid::ROOT_X86_64, b.0, EMPTY),
            planned(Guid::ROOT_VERITY_X86_64, b.1, EMPTY),
            planned(Guid::LINUX_GENERIC, own("state"), "state"),
        ];
        plan_layout(SectorSize::Bytes512, DiskSize::Smallest, own("disk"), &partitions).unwrap()
    }

    fn random(seed: &str) -> (Guid, Guid) {
        (Guid::derived_from(&format!("{seed} data")), Guid::derived_from(&format!("{seed} hash")))
    }

    #[test]
    fn an_update_is_written_to_the_slot_that_does_not_run_whichever_that_is() {
        let (first, second) = (Slot { data: 1, hash: 2 }, Slot { data: 3, hash: 4 });
        let guids = hash(RUNNING).partition_guids();
        let slots = Slots::of(&table(guids, random("b")), &hash(RUNNING)).unwrap();
        assert_eq!((slots.running, slots.spare), (first, second));
        let slots = Slots::of(&table(random("a"), guids), &hash(RUNNING)).unwrap();
        assert_eq!((slots.running, slots.spare), (second, first));
    }

    #[test]
    fn only_the_spare_slot_changes_and_ends_with_the_identities_of_its_root_hash() {
        let before = table(hash(RUNNING).partition_guids(), random("b"));
        let slots = Slots::of(&before, &hash(RUNNING)).unwrap();
        let emptied = slots.with_spare_emptied(&before, random("unused")).unwrap();
        let filled = slots.with_spare_filled(&emptied, &hash(NEW), "w_0.2.0").unwrap();
        for (table, guids, names) in [
            (&emptied, random("unused"), [EMPTY, EMPTY]),
            (&filled, hash(NEW).partition_guids(), ["w_0.2.0", "w_0.2.0_verity"]),
        ] {
            let parts = table.partitions();
            assert_eq!((parts[3].part_guid, parts[4].part_guid), guids);
            assert_eq!([3, 4].map(|place: usize| parts[place].name.to_string()), names);
            for place in [3, 4] {
                assert_eq!(parts[place].attributes, Attributes::READ_ONLY | Attributes::NO_AUTO);
                assert_eq!(table.extent(&parts[place]), before.extent(&before.partitions()[place]));
            }
            for place in [0, 1, 2, 5] {
                assert_eq!(parts[place], before.partitions()[place]);
            }
        }
        // The next update goes the other way.
        assert_eq!(Slots::of(&filled, &hash(NEW)).unwrap().spare, slots.running);
    }

    #[test]
    fn a_version_that_runs_already_is_not_written_beside_itself() {
        let table = table(hash(RUNNING).partition_guids(), random("b"));
        let slots = Slots::of(&table, &hash(RUNNING)).unwrap();
        let error = slots.with_spare_filled(&table, &hash(RUNNING), "w_0.1.0").unwrap_err();
        assert_eq!(error, SlotsError::SameAsRunning(hash(RUNNING)));
    }

    #[test]
    fn a_label_that_does_not_fit_is_refused() {
        let table = table(hash(RUNNING).partition_guids(), random("b"));
        let slots = Slots::of(&table, &hash(RUNNING)).unwrap();
        let long = format!("w_{}", "1".repeat(40));
        assert!(matches!(slots.with_spare_filled(&table, &hash(NEW), &long), Err(SlotsError::Name(_))));
    }

    #[test]
    fn disks_that_are_not_those_of_this_host_are_refused() {
        let (data, hash_guid) = hash(RUNNING).partition_guids();
        let other = table(random("a"), random("b"));
        assert_eq!(Slots::of(&other, &hash(RUNNING)), Err(SlotsError::NotRunning(hash(RUNNING))));
        let crossed = table((data, random("a").1), (random("b").0, hash_guid));
        assert_eq!(Slots::of(&crossed, &hash(RUNNING)), Err(SlotsError::Torn(hash(RUNNING))));
        let flashed: Vec<Partition> = other.partitions()[..3].to_vec();
        let flashed = Table::new(other.sector_size(), other.disk_sectors(), other.disk_guid(), flashed).unwrap();
        assert_eq!(Slots::of(&flashed, &hash(RUNNING)), Err(SlotsError::Number { data: 1, hash: 1 }));
    }
}

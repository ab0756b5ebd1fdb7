//! Block devices of a board file: the keys that name one, in slots and for the upper directory.

use super::Validator;
use crate::board::value::{DeviceName, Duration, Label, Lun, PartName, PartUuid, PartitionId, Uuid};
use crate::board::{Device, FileSystem, Holder, Wanted, raw};
use std::time;

const DEADLINE: time::Duration = time::Duration::from_secs(10);

/// What a table says about its device.
pub(super) struct DeviceKeys {
    partname: Option<PartName>,
    partuuid: Option<PartUuid>,
    label: Option<Label>,
    uuid: Option<Uuid>,
    path: Option<DeviceName>,
    hint: Option<DeviceName>,
    deadline: Option<Duration>,
    lun: Option<Lun>,
    filesystem: Option<raw::FileSystem>,
}

/// Takes the device's keys out of a raw table.
macro_rules! taken {
    ($raw:expr) => {
        DeviceKeys {
            partname: $raw.partname.take(),
            partuuid: $raw.partuuid.take(),
            label: $raw.label.take(),
            uuid: $raw.uuid.take(),
            path: $raw.path.take(),
            hint: $raw.hint.take(),
            deadline: $raw.deadline.take(),
            lun: $raw.lun.take(),
            filesystem: $raw.filesystem.take(),
        }
    };
}

impl DeviceKeys {
    pub(super) fn of_slot(raw: &mut raw::Slot) -> Self {
        taken!(raw)
    }

    pub(super) fn of_overlay(raw: &mut raw::Overlay) -> Self {
        taken!(raw)
    }

    /// The keys that are there.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let keys = [
            ("partname", self.partname.is_some()),
            ("partuuid", self.partuuid.is_some()),
            ("label", self.label.is_some()),
            ("uuid", self.uuid.is_some()),
            ("path", self.path.is_some()),
            ("hint", self.hint.is_some()),
            ("deadline", self.deadline.is_some()),
            ("lun", self.lun.is_some()),
            ("filesystem", self.filesystem.is_some()),
        ];
        keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
    }
}

impl Validator {
    /// The device of the table at `path`: exactly one key names it, or `default` does.
    pub(super) fn wanted(&mut self, path: &str, keys: DeviceKeys, default: Option<Device>) -> Option<Wanted> {
        let partuuid = keys.partuuid.map(|id| match id.0 {
            PartitionId::Gpt(guid) => ("partuuid", Device::PartUuid(guid)),
            PartitionId::Mbr(signature, number) => ("partuuid", Device::MbrPartUuid(signature, number)),
        });
        let devices = [
            keys.partname.map(|name| ("partname", Device::PartName(name.0))),
            partuuid,
            keys.label.map(|label| ("label", Device::Label(label.0))),
            keys.uuid.map(|uuid| ("uuid", Device::Uuid(uuid.0))),
            keys.path.map(|path| ("path", Device::Path(path.0))),
        ];
        let names: Vec<_> = devices.iter().flatten().map(|(key, _)| *key).collect();
        let expected = "expected exactly one of partname, partuuid, label, uuid, path";
        match names.as_slice() {
            [_] => {}
            [] if default.is_some() || self.document.is_refused(path) => {}
            [] => self.problem(path, format!("no device, {expected}")),
            [_, second, ..] => {
                self.problem(&format!("{path}.{second}"), format!("found {}, {expected}", names.join(" and ")));
            }
        }
        let deadline = keys.deadline.map_or(DEADLINE, |duration| duration.0);
        if u32::try_from(deadline.as_millis()).is_err() || !deadline.subsec_micros().is_multiple_of(1000) {
            let text = format!("found {deadline:?}, expected whole milliseconds, fewer than 2^32");
            self.problem(&format!("{path}.deadline"), text);
        }
        let device = devices.into_iter().flatten().next().map(|(_, device)| device).or(default)?;
        Some(Wanted { device, hint: keys.hint.map(|name| name.0), deadline, lun: keys.lun.map(|lun| lun.0) })
    }

    /// The file system on the device of the table at `path`.
    pub(super) fn holder(&mut self, path: &str, keys: DeviceKeys, expected: &str) -> Option<Holder> {
        let kind = self.required(&format!("{path}.filesystem"), keys.filesystem, expected);
        let device = self.wanted(path, keys, None);
        let kind = match kind? {
            raw::FileSystem::Ext4 => FileSystem::Ext4,
            raw::FileSystem::Vfat => FileSystem::Vfat,
            raw::FileSystem::F2fs => FileSystem::F2fs,
            raw::FileSystem::Xfs => FileSystem::Xfs,
            raw::FileSystem::Btrfs => FileSystem::Btrfs,
        };
        Some(Holder { device: device?, kind })
    }
}

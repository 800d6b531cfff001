//! Documents from SMBIOS or `fw_cfg`, which systemd hands to our unit (`ImportCredential=casemate.*`): no other service sees them.

use super::Gathered;
use super::Names;
use super::Origin;
use crate::paths::Paths;

/// Reads `casemate.host`, `casemate.host.sig` and `casemate.host-id`.
pub fn read(paths: &Paths, gathered: &mut Gathered) {
    let folder = paths.credentials();
    let names = Names {
        document: &folder.join("casemate.host"),
        signature: &folder.join("casemate.host.sig"),
        host_id: &folder.join("casemate.host-id"),
    };
    gathered.read(Origin::Credential, &names);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn reads_the_names_of_credentials() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path());
        fs::create_dir_all(paths.credentials()).unwrap();
        for name in ["casemate.host", "casemate.host.sig", "casemate.host-id"] {
            fs::write(paths.credentials().join(name), name).unwrap();
        }
        let mut gathered = Gathered::default();
        read(&paths, &mut gathered);
        assert_eq!(gathered.candidates[0].document, b"casemate.host");
        assert_eq!(gathered.candidates[0].signature.as_deref(), Some(&b"casemate.host.sig"[..]));
        assert_eq!(gathered.host_id.as_deref(), Some("casemate.host-id"));
    }
}

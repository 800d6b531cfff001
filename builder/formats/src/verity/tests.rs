//! Known answers from a real `veritysetup` and a zoo of damage.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

const SALT: [u8; 32] = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef";
const UUID: Guid = Guid::from_u128(0x6d7f_c0de_0000_4000_8000_0000_0000_c0de);

/// Blocks, root hash and SHA-256 of the hash image. Made once with veritysetup 2.6.1 on files of [`data`]:
/// `veritysetup format --salt=0123456789abcdef… --uuid=6d7fc0de-0000-4000-8000-00000000c0de DATA HASH; sha256sum HASH`
const KNOWN: [(u64, &str, &str); 6] = [
    (
        1,
        "17bee5ec15ab9281af30444a05833408c657dd69da107fa7cc51a75d24551cc2",
        "eaa15f6515b32ff2c6d1a143831eda57712311b05d59aa8304f1ae1aecdc48ab",
    ),
    (
        2,
        "f4b2468fc53b8d48717c830c36068f012785d68ecee67c7e7bfa9d5dfe885d36",
        "3ec06e4727681dc9af5a4695c4a9740fbedc77c04932358414bdc8456866d619",
    ),
    (
        128,
        "87567712b5f270dd9d8deb0d2387396c7a85fc142bddca15c14bc59b990c1b81",
        "3ca8614803ee5b4672c0216b99b8b76b6f14218657e5c81202b1423eb4a2bb0f",
    ),
    (
        129,
        "5a32d71cd7f4bd8259d18d5b8e4a51e3322809a972d31720d3f5a4b3774a14fd",
        "2fd93912f01506090b3fe35a6f6b790128b641a67d518aa7518d5daeaaa90d2d",
    ),
    (
        256,
        "db52617962c4b95dee9e5a704f7f97ba34fdc0088c503da2f0db0c54bdbf37ca",
        "a35531085e63be12f16d62a2408a51d101db2a291474531c32854c840c6df8b4",
    ),
    (
        16385,
        "7004be6e79afc5388592de31134d3ee64fa81ad7f50bf4d0cfa0ff127642e75c",
        "8be3988b0efd65a4ab7e74134c07dff835c21c8cbde393fdaa19f2305e42924a",
    ),
];

/// Makes test data: each block is the xorshift64 stream (13, 7, 17) seeded with its number plus one, little-endian.
fn data(blocks: u64) -> Vec<u8> {
    (1..=blocks)
        .flat_map(|seed| {
            let mut state = seed;
            (0..BLOCK_SIZE / 8).flat_map(move |_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()
            })
        })
        .collect()
}

fn salt() -> Salt {
    Salt::new(&SALT).unwrap()
}

fn tree(bytes: &[u8]) -> VerityTree {
    build(&mut &bytes[..], bytes.len() as u64, &salt(), UUID).unwrap()
}

fn check(bytes: &[u8], tree: &VerityTree) -> Result<(), VerityError> {
    verify(&mut &bytes[..], bytes.len() as u64, &tree.hash_image, &tree.root_hash)
}

#[test]
fn equals_veritysetup_at_every_tree_depth() {
    for (blocks, root_hash, image_digest) in KNOWN {
        let bytes = data(blocks);
        let tree = tree(&bytes);
        assert_eq!(tree.root_hash.to_string(), root_hash, "{blocks} blocks");
        assert_eq!(hex::encode(Sha256::digest(&tree.hash_image)), image_digest, "{blocks} blocks");
        let superblock = Superblock::parse(&tree.hash_image).unwrap();
        assert_eq!(superblock.hash_image_size(), Some(tree.hash_image.len() as u64));
        assert_eq!(superblock.data_size(), Some(bytes.len() as u64));
        check(&bytes, &tree).unwrap();
    }
}

#[test]
fn equals_veritysetup_without_salt() {
    // `veritysetup format --salt=- --uuid=… DATA HASH` on 129 blocks.
    let bytes = data(129);
    let tree = build(&mut &bytes[..], bytes.len() as u64, &Salt::new(&[]).unwrap(), UUID).unwrap();
    assert_eq!(tree.root_hash.to_string(), "5f34bbb3d040bb9bbe913af0c3365c3042177b34cfde29706813d9a2f70e49ce");
    assert_eq!(
        hex::encode(Sha256::digest(&tree.hash_image)),
        "bf51443668f15ab172b1048d1274e53ab0e0a13d6af9faeb87f34ed2723b26e8"
    );
}

#[test]
fn names_the_damaged_data_block() {
    let mut bytes = data(300);
    let tree = tree(&bytes);
    bytes[257 * BLOCK_SIZE + 17] ^= 1;
    let error = check(&bytes, &tree).unwrap_err();
    assert!(matches!(error, VerityError::DataMismatch { block: 257 }), "{error}");
}

#[test]
fn refuses_one_flipped_bit_anywhere_in_the_hash_image() {
    let bytes = data(130);
    let good = tree(&bytes);
    for offset in (0..good.hash_image.len()).step_by(61) {
        let mut bad = good.clone();
        bad.hash_image[offset] ^= 0x10;
        assert!(check(&bytes, &bad).is_err(), "byte {offset}");
    }
}

#[test]
fn refuses_a_root_hash_of_another_build() {
    let bytes = data(3);
    let mut tree = tree(&bytes);
    tree.root_hash = RootHash::from_bytes([7; 32]);
    assert!(matches!(
        check(&bytes, &tree).unwrap_err(),
        VerityError::HashMismatch { .. } | VerityError::RootHashMismatch { .. }
    ));
}

#[test]
fn refuses_part_blocks_short_data_and_long_salt() {
    let build_sized = |size: u64| build(&mut &[0_u8; 4096][..], size, &salt(), UUID).unwrap_err();
    assert!(matches!(build_sized(0), VerityError::DataSize { size: 0 }));
    assert!(matches!(build_sized(4097), VerityError::DataSize { size: 4097 }));
    assert!(matches!(build_sized(8192), VerityError::Read { block: 0, blocks: 2, .. }));
    // Of many chunks, the one that is short is named.
    let short = build(&mut &data(300)[..], 600 * 4096, &salt(), UUID).unwrap_err();
    assert!(matches!(short, VerityError::Read { block: 256, blocks: 600, .. }), "{short}");
    assert!(matches!(Salt::new(&[0; 257]).unwrap_err(), VerityError::SaltLength { length: 257 }));
}

#[test]
fn refuses_data_of_another_size_than_the_superblock() {
    let tree = tree(&data(2));
    let error = check(&data(3), &tree).unwrap_err();
    assert!(matches!(error, VerityError::BlockCount { expected: 2, got: 3 }), "{error}");
}

#[test]
fn names_the_superblock_field_that_is_wrong() {
    let good = tree(&data(1)).hash_image;
    for (offset, field) in [
        (0, "signature"),
        (8, "version"),
        (12, "hash type"),
        (32, "algorithm"),
        (64, "data block size"),
        (81, "salt size"),
    ] {
        let mut bad = good.clone();
        bad[offset] ^= 0xff;
        let message = Superblock::parse(&bad).unwrap_err().to_string();
        assert!(message.contains(&format!("`{field}`")), "{message}");
    }
    assert!(Superblock::parse(&good[..4095]).is_err());
}

proptest! {
    #[test]
    fn superblock_parser_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), whole: bool) {
        if whole {
            let mut block = tree(&data(1)).hash_image;
            block.splice(60..60 + bytes.len(), bytes);
            bytes = block;
        }
        if let Ok(superblock) = Superblock::parse(&bytes) {
            let _ = (superblock.hash_image_size(), superblock.data_size());
        }
    }
}

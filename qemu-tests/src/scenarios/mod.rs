//! The scenarios, grouped by what they are about.

mod accepted;
mod bans;
mod behind_a_cdn;
mod certificates;
mod container;
mod database_limit;
mod firewall;
mod first_boot;
mod flood;
mod jail;
mod limits;
mod managed;
mod many_sites;
mod packages;
mod page_cost;
mod pinned;
mod power_cut;
mod refused;
mod relay;
mod secure_boot;
mod site_work;
mod update;
mod wall;
mod web;

use crate::{Image, Scenario};

/// Those that measure processor time, for beside another scenario the caches are never theirs; and a machine with everything in it, which has 300 s
/// to become healthy.
pub(crate) const ALONE: &[Scenario] = &[
    Scenario {
        claim: "a_page_of_wordpress_costs_hardly_more_than_with_apaches_own_php",
        images: &[Image::Webhost],
        scratch: "page-cost",
        run: page_cost::is_that_of_a_stock_server,
    },
    Scenario {
        claim: "a_flashed_host_serves_wordpress_over_https_and_ssh_to_its_administrator_only_and_its_sites_hurt_only_themselves",
        images: &[Image::Webhost],
        scratch: "web",
        run: web::serves_and_hurts_nobody,
    },
];

/// Those that take too long for every day: `CASEMATE_FULL=1 cargo test --workspace` has them too.
pub(crate) const FULL: &[Scenario] = &[
    Scenario {
        claim: "a_version_that_panics_dies_crashes_fails_or_hangs_is_left_without_a_hand_and_the_old_one_says_why",
        images: &[Image::Minimal],
        scratch: "bad-versions",
        run: update::comes_back_from_every_bad_version,
    },
    Scenario {
        claim: "an_update_that_is_cut_anywhere_at_the_level_of_the_disk_leaves_a_whole_version_that_starts",
        images: &[Image::Minimal],
        scratch: "update-cuts",
        run: update::never_leave_a_host_that_does_not_start,
    },
    Scenario {
        claim: "a_database_is_opened_by_the_version_before_with_the_rows_that_it_can_read",
        images: &[Image::Minimal],
        scratch: "update-data",
        run: update::finds_the_rows_of_its_database,
    },
    Scenario {
        claim: "a_machine_that_is_killed_at_any_moment_of_an_update_starts_and_takes_the_next",
        images: &[Image::Minimal],
        scratch: "update-kills",
        run: update::is_killed_again_and_again,
    },
];

/// The others, two at a time; the longest come first, so that both end together.
pub(crate) const IN_PAIRS: &[Scenario] = &[
    Scenario {
        claim: "a_host_follows_a_repository_by_itself_goes_back_by_hand_and_comes_back_from_versions_that_are_bad",
        images: &[Image::Minimal],
        scratch: "update",
        run: update::goes_forward_and_comes_back,
    },
    Scenario {
        claim: "certificates_are_issued_by_an_authority_renewed_with_the_same_key_and_served_without_a_dropped_connection",
        images: &[Image::Webhost],
        scratch: "certificates",
        run: certificates::are_issued_and_renewed,
    },
    Scenario {
        claim: "with_secure_boot_our_keys_boot_a_changed_byte_or_foreign_keys_do_not_and_no_update_is_taken_that_would_not",
        images: &[Image::Minimal],
        scratch: "secure-boot",
        run: secure_boot::only_ours,
    },
    Scenario {
        claim: "sites_are_logged_into_by_link_filled_by_sftp_cloned_restored_moved_and_removed_and_nobody_reaches_more_than_the_own",
        images: &[Image::Webhost],
        scratch: "site-work",
        run: site_work::is_done,
    },
    Scenario {
        claim: "each_of_a_hundred_sites_adds_less_than_a_tenth_of_a_second_to_a_start",
        images: &[Image::Webhost],
        scratch: "many-sites",
        run: many_sites::start_quickly,
    },
    Scenario {
        claim: "a_program_in_one_site_reaches_no_file_process_database_program_or_network_but_its_own_and_is_named_in_the_journal",
        images: &[Image::Webhost],
        scratch: "jail",
        run: jail::keeps_a_program_in,
    },
    Scenario {
        claim: "an_image_is_proven_by_three_boots_the_last_with_a_changed_bit_in_sshd_and_only_then_gets_a_report_and_onto_a_disk",
        images: &[Image::Minimal],
        scratch: "accepted",
        run: accepted::only_a_proven_image_gets_a_report_and_onto_a_disk,
    },
    Scenario {
        claim: "mail_of_a_site_leaves_by_the_relay_only_under_its_own_names_in_measure_and_is_logged_with_its_name",
        images: &[Image::Webhost],
        scratch: "relay",
        run: relay::takes_all_mail,
    },
    Scenario {
        claim: "a_database_that_outgrows_the_limit_of_its_site_is_read_and_emptied_and_hurts_no_other",
        images: &[Image::Webhost],
        scratch: "database-limit",
        run: database_limit::hurts_only_the_site_itself,
    },
    Scenario {
        claim: "requests_that_attack_never_reach_php_and_all_others_do",
        images: &[Image::Webhost],
        scratch: "wall",
        run: wall::refuses_attacks_and_nothing_else,
    },
    Scenario {
        claim: "a_power_cut_anywhere_in_the_first_boot_is_resumed_by_the_next",
        images: &[Image::Minimal],
        scratch: "power-cut",
        run: power_cut::is_resumed,
    },
    Scenario {
        claim: "nothing_comes_in_or_goes_out_that_the_image_does_not_declare_on_both_families_and_who_tried_is_named",
        images: &[Image::Webhost],
        scratch: "firewall",
        run: firewall::opens_what_is_declared_and_nothing_else,
    },
    Scenario {
        claim: "whoever_tries_too_often_is_cut_off_for_a_while_also_over_restarts_and_administrators_never",
        images: &[Image::Webhost],
        scratch: "bans",
        run: bans::are_lasting_and_never_for_administrators,
    },
    Scenario {
        claim: "the_same_root_boots_as_a_container_and_serves_the_site_in_a_network_of_its_own",
        images: &[Image::Webhost],
        scratch: "container",
        run: container::serves_in_its_own_network,
    },
    Scenario {
        claim: "a_flood_is_limited_and_its_sender_banned_while_a_reader_who_reloads_and_all_others_are_served",
        images: &[Image::Webhost],
        scratch: "flood",
        run: flood::is_limited_and_its_sender_banned,
    },
    Scenario {
        claim: "documents_that_are_unsigned_wrongly_signed_or_mistaken_are_refused_with_every_reason_and_nothing_listens",
        images: &[Image::Minimal],
        scratch: "refused",
        run: refused::with_every_reason,
    },
    Scenario {
        claim: "a_host_without_a_document_listens_on_nothing_and_says_what_it_waits_for",
        images: &[Image::Minimal],
        scratch: "waits",
        run: first_boot::waits_and_listens_on_nothing,
    },
    Scenario {
        claim: "behind_a_cdn_the_visitor_is_seen_and_banned_and_never_the_cdn_and_nobody_forges_an_address",
        images: &[Image::Webhost],
        scratch: "cdn",
        run: behind_a_cdn::visitors_are_told_apart,
    },
    Scenario {
        claim: "a_managed_site_gets_code_from_wordpress_org_only_with_a_snapshot_before_and_what_breaks_it_is_undone",
        images: &[Image::Webhost],
        scratch: "managed",
        run: managed::gets_code,
    },
    Scenario {
        claim: "plugins_and_themes_that_are_pinned_in_the_image_work_as_if_they_were_the_sites_own_and_nobody_changes_them",
        images: &[Image::Webhost],
        scratch: "pinned",
        run: pinned::are_part_of_the_image,
    },
];

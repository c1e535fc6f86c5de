//! The real control plane with its KEK in a token of SoftHSM 2: what other files check with a local KEK, once more, and what only a token can do.

#[path = "hsm/pulled.rs"]
mod pulled;
#[path = "hsm/rotation.rs"]
mod rotation;

use crate::home::{Home, KeyIn};
use crate::stack::Stack;
use crate::{bulk, crash, foreign, health, legacy, nodes, restart, values};

fn home() -> Home {
    Home::new(KeyIn::SoftHsm)
}

#[test]
fn values_are_written_and_read_as_with_a_local_kek_and_restarts_and_other_keys_change_nothing() {
    let mut stack = Stack::of(home());
    // First, while every Secret has a value and one run of the API server has written all.
    bulk::two_thousand_secrets(&mut stack);
    values::ALL.iter().for_each(|check| check(&stack));
    // Before calls fail for good reasons.
    health::only_successful_calls_are_counted(&stack);
    restart::the_api_server_starts_anew(&mut stack);
    restart::the_plugin_starts_anew(&mut stack);
    health::readyz_follows_the_plugin(&mut stack);
    foreign::another_node_cannot_read(&stack, KeyIn::SoftHsm);
}

#[test]
fn a_plugin_killed_under_load_logs_in_again_and_never_leads_to_a_wrong_answer() {
    crash::the_plugin_is_killed_under_load(&mut Stack::of(home()));
}

#[test]
fn writes_begin_to_work_when_the_plugin_starts_after_the_api_server() {
    restart::the_plugin_starts_late(&home());
}

#[test]
fn three_nodes_with_one_token_read_what_the_others_wrote() {
    let trio = nodes::Trio::start(KeyIn::SoftHsm);
    nodes::each_reads_what_the_others_wrote(&trio);
    nodes::one_key_id_and_three_seeds_are_stored(&trio);
}

#[test]
fn a_kms_v1_api_server_writes_and_reads_over_a_path_socket() {
    legacy::a_v1_api_server_writes_and_reads(KeyIn::SoftHsm);
}

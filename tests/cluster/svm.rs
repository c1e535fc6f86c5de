//! A rewrite by StorageVersionMigrations: with the real kube-controller-manager, and with the test in its place, well and badly.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keywright_testbed::api::Api;
use keywright_testbed::apiserver::{ApiServer, TOKEN};
use keywright_testbed::controllers::ControllerManager;
use keywright_testbed::kubeconfig;
use keywright_testbed::plugin::Plugin;
use keywright_testbed::ran::Ran;
use keywright_testbed::scratch;
use serde_json::{Value, json};

use crate::stack::{KEYWRIGHT, LONG, SOON, Stack, bytes, settings, tools};

const MIGRATIONS: &str = "/apis/storagemigration.k8s.io/v1/storageversionmigrations";
/// Of the resource that comes first.
const OURS: &str = "keywright-configmaps";

/// How the controller behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Controller {
    Absent,
    /// Not played by the test, which is the rest of the cluster instead: see [`works_on`].
    Real,
    /// Takes a migration up and never ends it.
    Slow,
    /// Ends each with a message that quotes a value.
    Fails,
    /// Says that it succeeded and writes nothing.
    Lies,
    /// Does what the real one does: an empty patch for each object, then Succeeded.
    Works,
}

fn done(answer: keywright_testbed::Result<keywright_testbed::api::Answer>, what: &str) -> Value {
    answer.and_then(|answer| answer.ok()).unwrap_or_else(|e| panic!("{what}: {e}"))
}

fn migrations(api: &Api) -> Vec<Value> {
    done(api.get(MIGRATIONS), "list")["items"].as_array().cloned().unwrap_or_default()
}

fn condition(kind: &str, message: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "Test", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

/// One round of the controller over every migration that has not ended. It may find one deleted meanwhile.
fn controls(api: &Api, how: Controller) {
    for migration in migrations(api) {
        let name = migration["metadata"]["name"].as_str().expect("a name");
        let status = format!("{MIGRATIONS}/{name}/status");
        let conditions = migration["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if matches!(how, Controller::Absent | Controller::Real) || conditions.iter().any(|known| known["type"] != "Running") {
            continue;
        }
        let running = condition("Running", "The migration is running");
        let _ =
            api.patch(&status, &json!({"status": {"resourceVersion": migration["metadata"]["resourceVersion"], "conditions": [running]}}));
        let end = match how {
            Controller::Absent | Controller::Real | Controller::Slow => continue,
            Controller::Fails => condition("Failed", "1/2 not yet migrated: Secret \"s\" is invalid: data.v: Invalid value: \"hunter2\""),
            Controller::Lies => condition("Succeeded", "Migration completed"),
            Controller::Works => {
                let resource = migration["spec"]["resource"]["resource"].as_str().expect("a resource");
                for object in done(api.get(&format!("/api/v1/{resource}")), "list")["items"].as_array().expect("a list") {
                    let part = |name: &str| object["metadata"][name].as_str().expect("text").to_owned();
                    let path = format!("/api/v1/namespaces/{}/{resource}/{}", part("namespace"), part("name"));
                    done(api.patch(&path, &json!({})), "patch nothing");
                }
                condition("Succeeded", "Migration completed")
            }
        };
        let _ = api.patch(&status, &json!({"status": {"conditions": [running, end]}}));
    }
}

/// An object of each resource that changes all the time, as some do in a cluster at work. The real controller begins with a resource when its
/// cache has seen a later change of it than the migration, or a bookmark; where nothing changes that is up to a minute, and with its waits in
/// between, which double, up to three.
const BUSY: [&str; 2] = ["/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/secrets"];

fn works_on(api: &Api, round: u64) {
    for path in BUSY {
        let _ = api.patch(&format!("{path}/busy"), &json!({"metadata": {"annotations": {"round": round.to_string()}}}));
    }
}

/// Runs `words` while the controller works and the API server is made to poll its plugin.
fn run(stack: &Stack, words: &[String], how: Controller) -> Ran {
    let over = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let _ = stack.api().kms_ready();
                if how == Controller::Real {
                    works_on(stack.api(), round);
                }
                controls(stack.api(), how);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let ran = Ran::within(Command::new(KEYWRIGHT).args(["rotate", "rewrite", "--via", "storageversionmigration"]).args(words), LONG);
        over.store(true, Ordering::SeqCst);
        ran.expect("it ends by itself")
    })
}

fn secrets(ran: &Ran) -> Value {
    let answer = ran.json();
    let resources = answer["resources"].as_array().expect("a list");
    resources.iter().find(|resource| resource["resource"] == "secrets").expect("secrets").clone()
}

/// A credential with just the role that the command prints.
fn restricted(stack: &Stack, role: &str) -> String {
    let api = stack.api();
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/keywright-migration?fieldManager=test";
    done(api.request("PATCH", path, Some(("application/apply-patch+yaml", role.as_bytes()))), role);
    done(api.create("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "migrator"}})), "account");
    let binding = json!({
        "metadata": {"name": "migrator"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "keywright-migration"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "migrator"}],
    });
    done(api.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding), "binding");
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let token = done(api.create("/api/v1/namespaces/default/serviceaccounts/migrator/token", &request), "token");
    token["status"]["token"].as_str().expect("text").to_owned()
}

#[test]
fn a_migration_is_made_waited_for_taken_up_and_removed_and_only_the_next_scan_is_believed() {
    let stack = Stack::start();
    for number in 0..5 {
        done(stack.api().create_secret(&format!("s{number}"), &[("v", &bytes(50, number))]), "secret");
    }
    stack.promote();
    let user = |file: &str, token: &str| [stack.place(), stack.user(file, token)].concat();
    let with = |user: &[String], words: &[&str]| [user, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()].concat();
    let admin = user("admin.conf", TOKEN);
    let role = run(&stack, &with(&admin, &["--print-role"]), Controller::Absent).succeeds();
    let token = restricted(&stack, &role);
    let migrator = user("migrator.conf", &token);
    let json = ["--output", "json"];
    let soon = ["--output", "json", "--migration-wait", "4s"];

    let dry = run(&stack, &with(&migrator, &["--dry-run", "--output", "json"]), Controller::Works);
    assert_eq!((dry.code, &secrets(&dry)["rewritten"]), (0, &json!(5)), "{dry:?}");
    assert_eq!(migrations(stack.api()), [json!(null); 0], "a dry run made one");

    // One of somebody else stays, and is not used.
    let mut other = json!({"metadata": {"name": OURS}, "spec": {"resource": {"group": "", "resource": "configmaps"}}});
    done(stack.api().create(MIGRATIONS, &other), "migration");
    let foreign = run(&stack, &with(&migrator, &soon), Controller::Absent);
    assert_eq!(foreign.code, 6, "{foreign:?}");
    done(stack.api().delete(&format!("{MIGRATIONS}/{OURS}")), "delete");

    // One of an earlier rotation is of no use, even if a controller had it: it is replaced. Nothing takes up the new one.
    other["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "keywright"});
    other["metadata"]["annotations"] = json!({"keywright/primary": "another"});
    done(stack.api().create(MIGRATIONS, &other), "migration");
    controls(stack.api(), Controller::Slow);
    let alone = run(&stack, &with(&migrator, &soon), Controller::Absent);
    assert_eq!(alone.code, 5, "{alone:?}");
    assert!(alone.err.contains("kube-controller-manager") && alone.err.contains("nothing took up"), "{alone:?}");
    assert_eq!(migrations(stack.api()), [json!(null); 0], "it was left behind");

    // One that is late is left, and the next run takes it up; what its message quotes is not shown.
    let late = run(&stack, &with(&migrator, &soon), Controller::Slow);
    assert_eq!(late.code, 7, "{late:?}");
    let left = migrations(stack.api());
    let again = run(&stack, &with(&migrator, &soon), Controller::Slow);
    assert!(again.code == 7 && again.err.contains(&format!("StorageVersionMigration {OURS} taken up")), "{again:?}");
    let ids = |list: &[Value]| list.iter().map(|migration| migration["metadata"]["uid"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&migrations(stack.api())), ids(&left), "it was made anew");
    assert_eq!(left.len(), 1, "{left:?}");
    let failed = run(&stack, &with(&migrator, &json), Controller::Fails);
    assert_eq!(failed.code, 4, "{failed:?}");
    assert_eq!(secrets(&failed)["failed"], 5, "{failed:?}");
    assert!(failed.out.contains("is invalid") && !format!("{failed:?}").contains("hunter2"), "{failed:?}");
    assert_eq!(migrations(stack.api()), [json!(null); 0], "it was left behind");

    let lied = run(&stack, &with(&migrator, &json), Controller::Lies);
    assert_eq!((lied.code, &secrets(&lied)["unchanged"]), (4, &json!(5)), "{lied:?}");

    let worked = run(&stack, &with(&migrator, &json), Controller::Works);
    assert_eq!((worked.code, &secrets(&worked)["rewritten"]), (0, &json!(5)), "{worked:?}");
    assert_eq!(migrations(stack.api()), [json!(null); 0], "it was left behind");

    let reader = Api::new(stack.server.address(), &stack.server.certificates(), &token).expect("a client");
    let secret = "/api/v1/namespaces/default/secrets/s0";
    assert_eq!(reader.get(secret).expect("it answers").status, 403);
    assert_eq!(reader.patch(secret, &json!({})).expect("it answers").status, 403);
    stack.nothing_secret_was_printed();
}

#[test]
fn an_api_server_without_migrations_is_named_with_what_to_turn_on() {
    let dir = scratch::folder("keywright").expect("a private folder");
    let plugin = Plugin::dev(std::path::Path::new(KEYWRIGHT), dir.path()).expect("the plugin starts");
    let etcd = keywright_testbed::etcd::Etcd::start(tools()).expect("etcd starts");
    let mut settings = settings(plugin.socket()).feature_gate("StorageVersionMigrator=false");
    settings.arguments.push("--runtime-config=storagemigration.k8s.io/v1=false".into());
    let server = ApiServer::start(tools(), &etcd, &settings).expect("the API server starts");
    server.kms_ready(SOON).expect("the API server likes the plugin");
    let file = dir.path().join("admin.conf");
    kubeconfig::write(&file, &server, TOKEN).expect("it is written");
    let mut command = Command::new(KEYWRIGHT);
    command.args(["rotate", "rewrite", "--via", "storageversionmigration", "--dry-run", "--dev", "--dir"]).arg(dir.path());
    command.args(["--endpoints", etcd.endpoint(), "--kubeconfig"]).arg(file);
    Ran::within(&mut command, LONG)
        .expect("it ends by itself")
        .fails(3, &["storagemigration.k8s.io", "--feature-gates=StorageVersionMigrator=true", "--via"]);
}

#[test]
fn the_real_controller_brings_all_under_the_primary_and_says_what_a_policy_refused_it() {
    let stack = Stack::start();
    let _controllers = ControllerManager::start(tools(), &stack.server).expect("it starts");
    for path in BUSY {
        done(stack.api().create(path, &json!({"metadata": {"name": "busy"}})), "busy");
    }
    for number in 0..20 {
        done(stack.api().create_secret(&format!("s{number}"), &[("v", &bytes(50, number))]), "secret");
    }
    let policy = json!({
        "metadata": {"name": "no-updates"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["secrets"]}]},
            "validations": [{"expression": "object.metadata.name != 's7'", "message": "it is kept as it is"}],
        },
    });
    let admission = "/apis/admissionregistration.k8s.io/v1";
    done(stack.api().create(&format!("{admission}/validatingadmissionpolicies"), &policy), "policy");
    let binding = json!({"metadata": {"name": "no-updates"}, "spec": {"policyName": "no-updates", "validationActions": ["Deny"]}});
    let bindings = format!("{admission}/validatingadmissionpolicybindings");
    done(stack.api().create(&bindings, &binding), "binding");
    let answers = |wanted: u16| {
        keywright_testbed::wait::until("the policy to be as it should", SOON, || {
            let patch = json!({"metadata": {"labels": {"a": "b"}}});
            let answer = stack.api().patch("/api/v1/namespaces/default/secrets/s7?dryRun=All", &patch).map_err(|e| e.to_string())?;
            if answer.status == wanted { Ok(()) } else { Err(answer.status.to_string()) }
        })
        .expect("it comes");
    };
    answers(422);

    stack.promote();
    let words = [stack.place(), stack.user("admin.conf", TOKEN), ["--output", "json"].map(str::to_owned).to_vec()].concat();
    let refused = run(&stack, &words, Controller::Real);
    assert!(refused.code == 4 && refused.out.contains("no-updates"), "{refused:?}");
    let left = secrets(&refused)["failed"].clone();
    assert!(left != 0, "{refused:?}");
    done(stack.api().delete(&format!("{bindings}/no-updates")), "delete");
    answers(200);
    let all = run(&stack, &words, Controller::Real);
    assert_eq!((all.code, &secrets(&all)["rewritten"]), (0, &left), "{all:?}");
    assert_eq!(migrations(stack.api()), [json!(null); 0], "it was left behind");
    stack.nothing_secret_was_printed();
}

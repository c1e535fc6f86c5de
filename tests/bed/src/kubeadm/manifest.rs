//! The manifest of kube-apiserver as a static pod, in the form in which kubeadm writes it: made, and read as a kubelet would.
//!
//! Only this form is read, line by line; a guide edits it, and what it makes of it must still be of this form.

use std::fmt::Write;

/// One `hostPath` volume at its own place.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Its name in the pod.
    pub name: &'static str,
    /// The folder, on the host and in the container.
    pub folder: &'static str,
}

/// The text for a container with these `arguments` and `mounts`.
pub(super) fn text(address: &str, arguments: &[String], mounts: &[Mount]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n    kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint: {address}:6443\n  \
         labels:\n    component: kube-apiserver\n    tier: control-plane\n  name: kube-apiserver\n  namespace: kube-system\nspec:\n  containers:\n  \
         - command:\n    - kube-apiserver\n"
    );
    // Writing to a String does not fail.
    for argument in arguments {
        let _ = writeln!(text, "    - {argument}");
    }
    text.push_str("    image: kube-apiserver\n    imagePullPolicy: IfNotPresent\n    name: kube-apiserver\n    volumeMounts:\n");
    for Mount { name, folder } in mounts {
        let _ = writeln!(text, "    - mountPath: {folder}\n      name: {name}\n      readOnly: true");
    }
    text.push_str("  hostNetwork: true\n  priorityClassName: system-node-critical\n  volumes:\n");
    for Mount { name, folder } in mounts {
        let _ = writeln!(text, "  - hostPath:\n      path: {folder}\n      type: DirectoryOrCreate\n    name: {name}");
    }
    text.push_str("status: {}\n");
    text
}

/// The arguments of kube-apiserver.
pub(super) fn arguments(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("    - ")).filter(|word| word.starts_with("--")).map(str::to_owned).collect()
}

/// Where its EncryptionConfiguration is, if it has one.
pub(super) fn encryption_config(text: &str) -> Option<String> {
    arguments(text).iter().find_map(|word| word.strip_prefix("--encryption-provider-config=").map(str::to_owned))
}

/// What the container could not see: files among its arguments, and the sockets that `encryption` (the text of its EncryptionConfiguration)
/// names, below no folder that is mounted from the same folder of the host.
pub(super) fn unseen(text: &str, encryption: &str) -> Vec<String> {
    let after = |word: &str| {
        let values = text.lines().filter_map(move |line| line.split_once(word)).map(|(_, value)| value);
        values.map(|value| value.split([',', '}']).next().unwrap_or_default().trim().to_owned()).collect::<Vec<_>>()
    };
    let hosts = [after(" path: "), after("{path: ")].concat();
    let mounted: Vec<_> = after("mountPath: ").into_iter().filter(|folder| hosts.contains(folder)).collect();
    let files = arguments(text).into_iter().filter_map(|word| word.split_once("=/").map(|(_, path)| format!("/{path}")));
    // The range of cluster addresses has a slash too, but does not begin with one.
    let sockets = encryption.split("unix://").skip(1).filter_map(|rest| rest.split([' ', '"', ',', '}', '\n']).next().map(str::to_owned));
    files.chain(sockets).filter(|path| !mounted.iter().any(|folder| path.starts_with(&format!("{folder}/")))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_mounted_is_not_seen() {
        let mounts = [Mount { name: "k8s-certs", folder: "/etc/kubernetes/pki" }];
        let words = ["--tls-cert-file=/etc/kubernetes/pki/apiserver.crt", "--service-cluster-ip-range=10.0.0.0/24"].map(str::to_owned);
        let plain = text("192.0.2.11", &words, &mounts);
        assert_eq!(arguments(&plain), words);
        assert_eq!((encryption_config(&plain), unseen(&plain, "")), (None, vec![]));
        let with = [words.as_slice(), &["--encryption-provider-config=/etc/kubernetes/encryption/c.yaml".into()]].concat();
        let with = text("192.0.2.11", &with, &mounts);
        assert_eq!(encryption_config(&with).as_deref(), Some("/etc/kubernetes/encryption/c.yaml"));
        let kms = "- kms: {endpoint: unix:///run/keywright/kms.sock, name: a}";
        assert_eq!(unseen(&with, kms), ["/etc/kubernetes/encryption/c.yaml", "/run/keywright/kms.sock"]);
        let mounted = with
            .replace("    volumeMounts:\n", "    volumeMounts:\n    - {name: e, mountPath: /etc/kubernetes/encryption, readOnly: true}\n")
            .replace("  volumes:\n", "  volumes:\n  - {name: e, hostPath: {path: /etc/kubernetes/encryption, type: Directory}}\n");
        assert_eq!(unseen(&mounted, kms), ["/run/keywright/kms.sock"]);
    }
}

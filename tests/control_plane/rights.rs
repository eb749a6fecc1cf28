//! What the controller's service account may do, tried with its own token; and `deploy/` on a real API server.

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, ListParams, PostParams};
use kube::config::AuthInfo;
use kube::{Client, Config};
use serde_json::{Value, json};
use tidegate::api::names::SYSTEM_NAMESPACE;

use crate::support;

/// The controller's own connection, impersonating when asked.
async fn controller(admin: &Client, user: Option<&str>, groups: Option<&[&str]>) -> Client {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), SYSTEM_NAMESPACE);
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": []}})).unwrap();
    let answer = accounts.create_token_request("tidegate", &PostParams::default(), &request).await.unwrap();
    let mut config: Config = support::config().await.unwrap();
    config.auth_info = AuthInfo::default();
    config.auth_info.token = Some(answer.status.unwrap().token.into());
    config.auth_info.impersonate = user.map(str::to_owned);
    config.auth_info.impersonate_groups = groups.map(|all| all.iter().map(|group| (*group).to_owned()).collect());
    Client::try_from(config).unwrap()
}

/// Who the API server takes the caller for.
async fn whoami(client: Client) -> kube::Result<(String, Vec<String>)> {
    let reviews: Api<SelfSubjectReview> = Api::all(client);
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    let user = review.status.unwrap().user_info.unwrap();
    let mut groups = user.groups.unwrap_or_default();
    groups.sort();
    Ok((user.username.unwrap(), groups))
}

/// Protects: the controller becomes the Application's service account, with that account's own groups, and nobody else.
#[tokio::test]
async fn impersonates_service_accounts_and_nobody_else() {
    let Some(admin) = support::cluster().await else { return };
    let account = "system:serviceaccount:shop:deployer";
    let groups = ["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:shop"].map(str::to_owned).to_vec();
    support::eventually("the controller's role is followed", async || {
        whoami(controller(&admin, Some(account), None).await).await.is_ok()
    })
    .await;
    assert_eq!(whoami(controller(&admin, Some(account), None).await).await.unwrap(), (account.to_owned(), groups));
    for (user, groups) in [
        ("admin", None),
        ("system:node:node1", None),
        ("system:kube-controller-manager", None),
        (account, Some(&["system:masters"][..])),
        (account, Some(&["system:serviceaccounts:kube-system"][..])),
    ] {
        let status = support::refusal(whoami(controller(&admin, Some(user), groups).await).await);
        assert_eq!(
            (status.code, status.message.contains("cannot impersonate resource")),
            (403, true),
            "{user}: {}",
            status.message
        );
    }
}

/// Protects: Secrets are read by name; nothing lists them.
#[tokio::test]
async fn reads_secrets_one_by_one() {
    let Some(admin) = support::cluster().await else { return };
    let secrets: Api<Secret> = Api::namespaced(controller(&admin, None, None).await, "default");
    assert_eq!(support::refusal(secrets.get("there-is-none").await).code, 404);
    assert_eq!(support::refusal(secrets.list(&ListParams::default()).await).code, 403);
    assert_eq!(support::refusal(secrets.list_metadata(&ListParams::default()).await).code, 403);
}

/// Protects: `kubectl apply --server-side -k deploy/` works, and the pod passes the namespace's Pod Security.
#[tokio::test]
async fn deploy_applies() {
    let Some(admin) = support::cluster().await else { return };
    for file in ["namespace.yaml", "admission.yaml", "rbac.yaml", "roles.yaml", "network-policy.yaml", "deployment.yaml"] {
        for object in support::deployed(file) {
            let applied = support::apply(&admin, &object, true).await;
            assert!(applied.is_ok(), "{file}: {applied:?}");
        }
    }
    let deployment = support::deployed("deployment.yaml").remove(0);
    let template: &Value = &deployment["spec"]["template"];
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "try"}, "spec": template["spec"]});
    support::create(&admin, Some(SYSTEM_NAMESPACE), &pod, true).await.unwrap();
    // The namespace does refuse: the same pod with one right more.
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let status = support::refusal(support::create(&admin, Some(SYSTEM_NAMESPACE), &pod, true).await);
    assert!(status.message.contains("violates PodSecurity \"restricted"), "{}", status.message);
}

pub fn metric_addresses(_p: &[crate::api::project::ProjectSpec], _n: &str) -> Option<Vec<String>> {
    None
}

//! Whether the server is there, and can be used.

use redis::{Value, cmd};
use session_core::Result;

use crate::error;
use crate::operations::Inner;

impl Inner {
    pub(crate) async fn prepare(&self) -> Result<()> {
        let deadline = self.router.deadline();
        for link in self.router.masters(deadline).await? {
            let mut info = cmd("INFO");
            info.arg("server");
            let reply = link.one(&info, deadline).await.map_err(|fault| fault.into_error(link.name()))?;
            check_server(&text(reply)?, self.router.is_cluster())?;
        }
        Ok(())
    }
}

fn text(value: Value) -> Result<String> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Ok(text),
        _ => Err(error::unexpected_reply()),
    }
}

/// Whether the server has what the scripts need: Redis 7.0, or any Valkey (which began after it).
fn check_server(info: &str, cluster: bool) -> Result<()> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let major =
        field("redis_version").and_then(|version| version.split('.').next()?.trim().parse::<u32>().ok());
    if major.is_some_and(|major| major < 7) {
        return Err(error::invalid_config("the server is older than Redis 7.0: use a newer one, or Valkey"));
    }
    if !cluster && field("redis_mode").map(str::trim) == Some("cluster") {
        return Err(error::invalid_config("the server is a node of a cluster: use a redis+cluster:// url"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_and_nodes_of_a_cluster_are_refused() {
        assert!(check_server("redis_version:7.0.15\r\nredis_mode:standalone\r\n", false).is_ok());
        assert!(check_server("redis_version:7.2.4\r\nredis_mode:cluster\r\n", true).is_ok());
        assert!(check_server("", false).is_ok(), "a server that hides its version is given a chance");
        assert!(check_server("redis_version:6.2.1\r\n", true).is_err());
        assert!(check_server("redis_version:7.2.4\r\nredis_mode:cluster\r\n", false).is_err());
    }
}

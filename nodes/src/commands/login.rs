//! `otto login`: signs in to a cluster, and makes it a context.

use super::contexts::{Contexts, Signed, is_name};
use super::fault::{Exit, Fault, Id};
use super::{Context, session};
use crate::identity::token::{Purpose, Token};
use clap::Args;
use serde_json::json;
use std::io::{self, IsTerminal};

/// The port of control nodes, where an address names none.
const PORT: u16 = 7301;

/// The command's arguments.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  otto-node token create --user bob         on a node: prints the token
  otto login 10.0.0.5 --name prod           asks for it, and keeps it for you alone

The token carries the fingerprint of the cluster's authority: it is shown to no other machine. Every
command speaks with the cluster from then on; `otto ctx` lists contexts, and switches between them.")]
pub(super) struct Login {
    /// A node of the cluster: ADDRESS or ADDRESS:PORT
    address: String,
    /// The token that signs you in [default: it is read from standard input]
    #[arg(long, env = "OTTO_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The name of the context [default: the address]
    #[arg(long)]
    name: Option<String>,
}

impl Login {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let address = with_port(&self.address);
        let name = self.name.clone().unwrap_or_else(|| default_name(&self.address));
        if !is_name(&name) {
            return Err(Fault::usage(Id::BadArgument, "a context needs a plain name")
                .at(name)
                .help("letters, digits, '.', '_' and '-', and not 'local': --name prod"));
        }
        let token = self.token(context)?;
        let contexts = Contexts::of_user()?;
        let (cluster, addresses) = session::block_on(async {
            let way = session::Way::new(vec![address.clone()], &token);
            let client = way.connect(&address).await?;
            let view = client.cluster().await.map_err(session::fault)?;
            way.learn(&client, &address).await;
            Ok((view.cluster.to_string(), way.addresses()))
        })?;
        let nodes = addresses.len();
        contexts.save(&name, &Signed::new(address, addresses, cluster.clone(), &token))?;
        contexts.choose(&name)?;
        if context.json {
            let page = json!({ "context": name, "cluster": cluster, "addresses": nodes });
            context.screen.data(format!("{page}\n"))?;
        }
        context.screen.tell(format!(
            "signed in to {name} ({nodes} {})        otto nodes",
            if nodes == 1 { "address" } else { "addresses" }
        ));
        Ok(Exit::Done)
    }

    fn token(&self, context: &Context) -> Result<Token, Fault> {
        let mut text = self.token.clone().unwrap_or_default();
        if self.token.is_none() {
            if io::stdin().is_terminal() {
                context.screen.tell("token:");
            }
            io::stdin().read_line(&mut text).map_err(|error| {
                Fault::usage(Id::BadArgument, format!("cannot read the token: {error}"))
            })?;
        }
        let make = "make one on a node of the cluster: otto-node token create --user NAME";
        if text.trim().is_empty() {
            return Err(Fault::usage(Id::BadArgument, "there is no token to sign in with")
                .help("otto login ADDRESS --token OU1-…")
                .help(make));
        }
        let token = Token::parse(&text).map_err(|error| {
            Fault::usage(Id::BadArgument, format!("failed to {error}")).help(make)
        })?;
        match token.purpose {
            Purpose::SignIn => Ok(token),
            Purpose::Join(role) => {
                let what = format!("this token lets a machine join ({role}), and signs nobody in");
                Err(Fault::usage(Id::BadArgument, what)
                    .help("on that machine: otto-node join ADDRESS --token OT1-…")
                    .help(make))
            }
        }
    }
}

/// An address with a port.
fn with_port(address: &str) -> String {
    let bare_v6 = address.parse::<std::net::Ipv6Addr>().is_ok();
    if bare_v6 {
        return format!("[{address}]:{PORT}");
    }
    let port = address.rsplit_once(':').map(|(_, port)| port);
    let has_port = port.is_some_and(|port| port.parse::<u16>().is_ok());
    if has_port { address.to_owned() } else { format!("{address}:{PORT}") }
}

/// What a context is called that was given no name.
fn default_name(address: &str) -> String {
    let host = match address.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && !host.ends_with(':') => host,
        _ => address,
    };
    host.trim_matches(['[', ']']).replace(':', "-")
}

#[cfg(test)]
mod tests {
    use super::{default_name, with_port};

    #[test]
    fn addresses_get_a_port_and_a_name() {
        for (address, full, name) in [
            ("10.0.0.5", "10.0.0.5:7301", "10.0.0.5"),
            ("10.0.0.5:99", "10.0.0.5:99", "10.0.0.5"),
            ("otto.example", "otto.example:7301", "otto.example"),
            ("[::1]:99", "[::1]:99", "--1"),
            ("fe80::7", "[fe80::7]:7301", "fe80--7"),
        ] {
            assert_eq!((with_port(address).as_str(), default_name(address).as_str()), (full, name));
        }
    }
}

//! `otto-node token`: what lets nodes and agents in, and what people sign in with.

use super::command::{Data, client, print};
use crate::client::ClientError;
use crate::identity::token::{Purpose, Token};
use crate::rpc::api::ApiError;
use crate::rpc::cluster::{ClusterView, NewToken, TokenPurpose, TokenView, person};
use crate::wire::hello::Refused;
use clap::{Args, Subcommand, ValueEnum};
use otto_core::cluster::state::{JoinRole, UserRole};
use otto_core::time::{Span, Timestamp};
use serde_json::{Value, json};
use std::process::ExitCode;

/// The command's arguments.
#[derive(Args, Debug)]
pub(super) struct TokenCommand {
    #[command(flatten)]
    data: Data,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Make a token and print the line that uses it; it is shown this once
    Create(Create),
    /// Let a token count no more
    Revoke {
        /// The beginning of its name, as `list` shows it
        token: String,
    },
    /// List tokens; their secrets are kept nowhere
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
struct Create {
    /// What the newcomer becomes
    #[arg(long, value_enum, default_value_t = Role::Agent, conflicts_with = "user")]
    role: Role,
    /// How many may join with it
    #[arg(long, default_value_t = 1, conflicts_with = "user")]
    uses: u32,
    /// How long it is valid [default: 1h; 30d for a person]
    #[arg(long, value_name = "TIME", value_parser = Span::parse)]
    valid: Option<Span>,
    /// Make a token with which this person signs in, in place of one for joining
    #[arg(long, value_name = "NAME", value_parser = person)]
    user: Option<String>,
    /// That person may administer the cluster
    #[arg(long, requires = "user")]
    admin: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Role {
    /// A node that keeps shards
    Control,
    /// An agent that runs stages
    Agent,
}

impl TokenCommand {
    pub(super) async fn run(&self) -> Result<ExitCode, Refused> {
        let client = client(&self.data)?;
        match &self.what {
            What::Create(create) => {
                let view = client.cluster().await.map_err(refused)?;
                let (token, purpose) = create.draw(&view)?;
                let lifetime_ms = create.lifetime().0;
                let new = NewToken { token: token.hash(), lifetime_ms, purpose };
                client.create_token(new).await.map_err(refused)?;
                print(&create.line(&view, &token))
            }
            What::Revoke { token } => {
                let known = client.tokens().await.map_err(refused)?;
                let revoked = meant(&known, token)?.token;
                client.revoke_token(revoked).await.map_err(refused)?;
                Ok(ExitCode::SUCCESS)
            }
            What::List { json } => {
                let known = client.tokens().await.map_err(refused)?;
                let text = if *json { page(&known) } else { table(&known) };
                print(&text)
            }
        }
    }
}

impl Create {
    fn draw(&self, view: &ClusterView) -> Result<(Token, TokenPurpose), Refused> {
        let (purpose, told) = match (&self.user, self.role) {
            (Some(name), _) => {
                let role = if self.admin { UserRole::Admin } else { UserRole::User };
                (Purpose::SignIn, TokenPurpose::SignIn { name: name.clone(), role })
            }
            (None, role) => {
                let role = match role {
                    Role::Control => JoinRole::Control,
                    Role::Agent => JoinRole::Agent,
                };
                (Purpose::Join(role), TokenPurpose::Join { role, uses: self.uses })
            }
        };
        Ok((Token::draw(purpose, view.authority)?, told))
    }

    fn lifetime(&self) -> Span {
        let usual = if self.user.is_some() { Span::hours(24 * 30) } else { Span::hours(1) };
        self.valid.unwrap_or(usual)
    }

    /// What is pasted on the other machine.
    fn line(&self, view: &ClusterView, token: &Token) -> String {
        let reachable = view.nodes.iter().filter(|node| node.live.reachable);
        let address = reachable.flat_map(|node| &node.addresses).next();
        let address = address.map_or("ADDRESS", String::as_str);
        let command = if self.user.is_some() { "otto login" } else { "otto-node join" };
        format!("{command} {address} --token {}\n", token.reveal().as_str())
    }
}

/// The token that a beginning of its name means.
fn meant<'a>(known: &'a [TokenView], name: &str) -> Result<&'a TokenView, Refused> {
    let mut meant = known.iter().filter(|token| token.token.to_string().starts_with(name));
    match (meant.next(), meant.next()) {
        (Some(token), None) if !name.is_empty() => Ok(token),
        (Some(_), _) => Err(Refused::trouble(
            format!("failed to choose a token: several begin with {name:?}"),
            "write more of it, as `otto-node token list` shows it",
        )),
        (None, _) => Err(Refused::trouble(
            format!("failed to find a token that begins with {name:?}"),
            "see `otto-node token list`",
        )),
    }
}

fn describe(purpose: &TokenPurpose) -> String {
    match purpose {
        TokenPurpose::Join { role, uses } => format!("{role}, {uses} left"),
        TokenPurpose::SignIn { name, role } => format!("{name} ({})", role.word()),
    }
}

fn table(known: &[TokenView]) -> String {
    if known.is_empty() {
        return "no tokens\n".to_owned();
    }
    let line = |token: &TokenView| {
        let (name, what) = (token.token.short(), describe(&token.purpose));
        let (until, by) = (moment(token.expires), &token.by);
        let revoked = if token.revoked { "   revoked" } else { "" };
        format!("{name}   {what:<20}   until {until}   by {by}{revoked}\n")
    };
    known.iter().map(line).collect()
}

fn page(known: &[TokenView]) -> String {
    let one = |token: &TokenView| {
        json!({
            "token": token.token,
            "purpose": token.purpose,
            "by": token.by,
            "expires": moment(token.expires),
            "revoked": token.revoked,
        })
    };
    format!("{}\n", Value::Array(known.iter().map(one).collect()))
}

fn moment(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_second(i64::try_from(at.0 / 1000).unwrap_or(i64::MAX));
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// What a cluster's refusal is to a person.
fn refused(error: ClientError) -> Refused {
    let ClientError::Api(ApiError::Refused(text)) = &error else { return error.into_refused() };
    let (what, help) = text.rsplit_once("; ").unwrap_or((text, "see `otto nodes`"));
    Refused::trouble(format!("failed to {what}"), help)
}

#[cfg(test)]
mod tests {
    use super::{meant, page, table};
    use crate::rpc::cluster::{TokenPurpose, TokenView};
    use otto_core::cluster::state::{JoinRole, UserRole};
    use otto_core::ids::TokenHash;
    use otto_core::time::Timestamp;

    fn tokens() -> Vec<TokenView> {
        let token = |number, purpose, revoked| TokenView {
            token: TokenHash([number; 32]),
            purpose,
            by: "ada".to_owned(),
            expires: Timestamp(1_800_000_000_000),
            revoked,
        };
        let name = "bob".to_owned();
        vec![
            token(0xa1, TokenPurpose::Join { role: JoinRole::Control, uses: 1 }, false),
            token(0xa2, TokenPurpose::SignIn { name, role: UserRole::User }, true),
        ]
    }

    #[test]
    fn tokens_are_listed_without_secrets() {
        let expected = "\
a1a1a1a1a1a1   control, 1 left        until 2027-01-15T08:00:00Z   by ada
a2a2a2a2a2a2   bob (user)             until 2027-01-15T08:00:00Z   by ada   revoked
";
        assert_eq!(table(&tokens()), expected);
        assert_eq!(table(&[]), "no tokens\n");
        let page: serde_json::Value = serde_json::from_str(&page(&tokens())).unwrap();
        assert_eq!(page[1]["purpose"]["sign_in"]["name"], "bob");
    }

    #[test]
    fn one_token_is_meant_or_none() {
        let known = tokens();
        assert_eq!(meant(&known, "a1").unwrap(), &known[0]);
        for doubtful in ["", "a", "b", "a1a2"] {
            assert!(meant(&known, doubtful).is_err(), "{doubtful}");
        }
    }
}

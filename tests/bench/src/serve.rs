//! The coordinator that is measured.

use std::{collections::BTreeMap, io::Write as _, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use slipstream_coordinator::{cloud::Connector, config::Config, seam::Seam, shutdown::Signals, start_with};

use crate::cloud::{NAME, PlayedCloud};

/// The first line of its standard output; contexts follow.
#[derive(Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) api: String,
    pub(crate) token: String,
    pub(crate) authority: String,
}

/// Serves until it is told to stop.
pub(crate) async fn serve(config: &Path) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let played: Arc<dyn Connector> = Arc::new(PlayedCloud::default());
    let clouds = BTreeMap::from([(NAME.to_owned(), played)]);
    let coordinator = start_with(Config::load(config)?, Seam::real(), clouds).await?;
    let greeting = Greeting {
        api: format!("https://{}", coordinator.api_addr),
        token: coordinator.admin_token.clone(),
        authority: coordinator.authority().to_owned(),
    };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&greeting)?)?;
    signals.next().await;
    anyhow::ensure!(coordinator.stop().await, "something did not end in time");
    Ok(())
}

//! The cost of `Backbone.sync` in Chromium, until the request is sent, compared with Backbone's own
//! `sync`: with jQuery and its plain `$.ajax`, and without jQuery and with an `ajax` that only
//! sends a frame with the same request. `cargo xtask bench` runs it.
//!
//! Both sides take turns in one page, in batches as large as those of a busy page. The clock of a
//! browser is too coarse for one call or one batch, so the mean of many batches counts. It is the
//! mean of the middle half, because other work of the machine disturbs some batches.

use std::env;

use backwire_tests::{Browser, Page, Server};
use serde::Deserialize;

/// Milliseconds of a window of the warm-up, and of a round, for both sides.
const WARM_UP_WINDOW: u32 = 2_000;
const ROUND: u32 = 4_000;

/// A page is warm if both costs change by less than this between windows.
const WARM: f64 = 0.03;
const MIN_WINDOWS: usize = 3;
const MAX_WINDOWS: usize = 6;

/// A comparison of the runtime with plain Backbone.
struct Comparison {
    name: &'static str,
    /// Scripts that the page loads before Backbone.
    scripts: &'static str,
    /// The `ajax` of the plain side. `undefined` keeps Backbone's own.
    ajax: &'static str,
    budget: f64,
}

const COMPARISONS: [Comparison; 2] = [
    Comparison {
        name: "with jQuery | plain `$.ajax`",
        scripts: r#"<script src="vendor/jquery.min.js"></script>"#,
        ajax: "undefined",
        budget: 1.2,
    },
    Comparison {
        name: "without jQuery | an `ajax` that sends a frame",
        scripts: "",
        ajax: "sendFrame",
        budget: 1.5,
    },
];

const PAGE: &str = r#"
    <!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    SCRIPTS
    <script src="vendor/underscore-min.js"></script>
    <script src="vendor/backbone-min.js"></script>
    <script>const plainSync = Backbone.sync;</script>
    <script src="/backwire.js"></script>
    <script>
      const CALLS = 20;
      const Todos = Backbone.Collection.extend({url: '/todo'});
      const todos = new Todos();
      let pending = 0;
      const answered = () => new Promise(resolve => {
        const check = () => pending === 0 ? resolve() : setTimeout(check, 1);
        check();
      });
      const settled = {success() { pending -= 1; }, error() { pending -= 1; }};

      // Microseconds for each call.
      let number = 0;
      const batch = sync => {
        const start = performance.now();
        for (let call = 0; call < CALLS; call++) {
          const model = todos.at(call % todos.length);
          pending += 1;
          model.set('title', `Milk ${number++}`, {silent: true});
          sync.call(model, 'update', model, {...settled});
        }
        return (performance.now() - start) * 1000 / CALLS;
      };

      const bare = new WebSocket(`ws://${location.host}/socket.io/?EIO=4&transport=websocket`);
      const joined = new Promise(resolve => {
        bare.onmessage = ({data}) => {
          if (data[0] === '0') bare.send('40');
          else if (data === '2') bare.send('3');
          else if (data.startsWith('40')) resolve();
          else if (data.startsWith('43')) pending -= 1;
        };
      });
      const sendFrame = ({url, data}) => {
        bare.send(`421["put",{"url":"${url}","data":${data}}]`);
        return {};
      };

      const ready = () => Promise.all([joined, new Promise((success, error) => todos.fetch({success, error}))]);

      // Returns the mean of the middle half of the batches within a time, for both sides.
      const measure = async time => {
        const costs = {ours: [], plain: []};
        const ajax = Backbone.ajax;
        const plainAjax = AJAX ?? ajax;
        const end = performance.now() + time;
        do {
          costs.ours.push(batch(Backbone.sync));
          await answered();
          Backbone.ajax = plainAjax;
          costs.plain.push(batch(plainSync));
          Backbone.ajax = ajax;
          await answered();
        } while (performance.now() < end);
        const middle = list => {
          const half = list.sort((a, b) => a - b).slice(list.length / 4, list.length * 3 / 4);
          return half.reduce((sum, cost) => sum + cost, 0) / half.length;
        };
        return {ours: middle(costs.ours), plain: middle(costs.plain), batches: costs.ours.length};
      };
    </script>"#;

/// Microseconds for each call, on both sides.
#[derive(Deserialize)]
struct Costs {
    ours: f64,
    plain: f64,
    batches: usize,
}

#[tokio::main]
async fn main() {
    let rounds = env::var("BACKWIRE_ROUNDS").ok().and_then(|it| it.parse().ok()).unwrap_or(7);
    let browser = Browser::start();
    println!(
        "| `Backbone.sync` until the request is sent | Backwire ÷ | ratio (lowest to highest round) | budget | | Backwire, µs | plain, µs | batches | warm-up |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for comparison in COMPARISONS {
        let html = PAGE.replace("SCRIPTS", comparison.scripts).replace("AJAX", comparison.ajax);
        let (server, _site) = Server::with_page(&html);
        let page = browser.open(&format!("{}/index.html", server.origin())).await;
        fill(&page).await;
        let warm_up = warm_up(&page).await;
        let mut costs = Vec::new();
        for _ in 0..rounds {
            costs.push(measure(&page, ROUND).await);
        }
        let ratios: Vec<_> = costs.iter().map(|costs| costs.ours / costs.plain).collect();
        let of = |read: fn(&Costs) -> f64| median(costs.iter().map(read).collect());
        let bound = |choose: fn(f64, f64) -> f64| ratios.iter().copied().fold(f64::NAN, choose);
        let (lowest, highest, ratio) = (bound(f64::min), bound(f64::max), median(ratios.clone()));
        let Comparison { name, budget, .. } = comparison;
        let verdict = if ratio <= budget { "met" } else { "MISSED" };
        let batches: usize = costs.iter().map(|costs| costs.batches).sum();
        println!(
            "| {name} | {ratio:.2} ({lowest:.2} to {highest:.2}) | ≤ {budget} | {verdict} | {:.1} | {:.1} | {batches} | {warm_up} |",
            of(|costs| costs.ours),
            of(|costs| costs.plain),
        );
    }
}

/// Creates a short list, as a page has one.
async fn fill(page: &Page) {
    page.run("for (let i = 0; i < 20; i++) todos.create({title: `Milk ${i}`, completed: false})")
        .await;
    page.until("todos.length === 20 && todos.every(todo => todo.id)", "the list").await;
    page.answer("ready()").await;
}

/// Runs windows until both costs are stable, and returns how that ended.
async fn warm_up(page: &Page) -> String {
    let mut former = measure(page, WARM_UP_WINDOW).await;
    for windows in 2.. {
        let last = measure(page, WARM_UP_WINDOW).await;
        let changes = [last.ours / former.ours, last.plain / former.plain];
        let change = changes.map(|ratio| (ratio - 1.0).abs()).into_iter().fold(0.0, f64::max);
        if windows >= MIN_WINDOWS && change < WARM {
            return format!("{windows} windows");
        }
        if windows == MAX_WINDOWS {
            return format!("ENDED WHILE STILL CHANGING by {:.1} %", change * 100.0);
        }
        former = last;
    }
    unreachable!("the loop returns")
}

async fn measure(page: &Page, milliseconds: u32) -> Costs {
    let costs = page.answer(&format!("measure({milliseconds})")).await;
    serde_json::from_value(costs).expect("both sides have been measured")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

//! What a call of `Backbone.sync` costs a page in Chromium, until the frame is sent; beside Backbone's own
//! `sync` with the least there could be in place of us: an `ajax` that puts the same into a frame and
//! sends it. What the browser takes for a frame is in both. `cargo xtask bench` runs it.

use backwire_tests::{Browser, Page, Server};

/// Batches of each kind; the first few find the page's code not yet optimised.
const BATCHES: u32 = 300;
const WARM_UP: u32 = 50;
/// Calls in a batch, as many as a busy page makes at once. The browser's clock is too coarse for one, and
/// for one batch: the mean of many counts. It is the mean of the middle half, because what else the
/// machine does falls into some of them.
const CALLS: u32 = 20;
/// Microseconds it may cost more.
const BUDGET: f64 = 20.0;

const PAGE: &str = r#"
    <!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    <script src="vendor/underscore-min.js"></script>
    <script src="vendor/backbone-min.js"></script>
    <script>const plainSync = Backbone.sync;</script>
    <script src="/backwire.js"></script>
    <script>
      const Todos = Backbone.Collection.extend({url: '/todo'});
      const todos = new Todos();
      const answered = () => new Promise(resolve => {
        const check = () => pending === 0 ? resolve() : setTimeout(check, 1);
        check();
      });
      let pending = 0;
      const answer = {success() { pending -= 1; }, error() { pending -= 1; }};

      // Microseconds a call.
      const batch = (calls, sync) => {
        const start = performance.now();
        for (let call = 0; call < calls; call++) sync(todos.at(call % todos.length), call);
        return (performance.now() - start) * 1000 / calls;
      };
      const ours = (model, call) => {
        pending += 1;
        model.set('title', `Milk ${call}`, {silent: true});
        Backbone.sync('update', model, {...answer});
      };
      const plain = (model, call) => {
        model.set('title', `Eggs ${call}`, {silent: true});
        plainSync.call(model, 'update', model, {...answer});
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
      const send = ({url, data}) => {
        pending += 1;
        bare.send(`421["put",{"url":"${url}","data":${data}}]`);
        return {};
      };

      const measure = async (batches, warmUp, calls) => {
        await Promise.all([joined, new Promise((success, error) => todos.fetch({success, error}))]);
        const costs = {ours: [], plain: []};
        const ajax = Backbone.ajax;
        for (let round = 0; round < batches; round++) {
          const cost = batch(calls, ours);
          await answered();
          Backbone.ajax = send;
          const own = batch(calls, plain);
          Backbone.ajax = ajax;
          await answered();
          if (round >= warmUp) costs.ours.push(cost), costs.plain.push(own);
        }
        const middle = list => {
          const half = list.sort((a, b) => a - b).slice(list.length / 4, list.length * 3 / 4);
          return half.reduce((sum, cost) => sum + cost) / half.length;
        };
        window.measured = {ours: middle(costs.ours), plain: middle(costs.plain)};
      };
    </script>"#;

#[tokio::main]
async fn main() {
    let (server, _site) = Server::with_page(PAGE);
    let browser = Browser::start();
    let page = browser.open(&format!("{}/index.html", server.origin())).await;
    fill(&page).await;
    page.run(&format!("measure({BATCHES}, {WARM_UP}, {CALLS})")).await;
    page.until("window.measured", "the measurement").await;
    let [ours, plain] = [cost(&page, "ours").await, cost(&page, "plain").await];
    let more = ours - plain;
    let verdict = if more <= BUDGET { "kept" } else { "MISSED" };
    println!("| `Backbone.sync` in Chromium, a call | µs |\n| --- | --- |");
    println!("| Backwire, until the frame is sent | {ours:.1} |");
    println!("| Backbone, with an `ajax` that sends a frame | {plain:.1} |");
    println!("| more: at most {BUDGET:.0} | {more:.1}: {verdict} |");
}

/// A short list, as a page has one.
async fn fill(page: &Page) {
    page.run("for (let i = 0; i < 20; i++) todos.create({title: `Milk ${i}`, completed: false})")
        .await;
    page.until("todos.length === 20 && todos.every(todo => todo.id)", "the list").await;
}

async fn cost(page: &Page, of: &str) -> f64 {
    let cost = page.value(&format!("measured.{of}")).await;
    cost.as_f64().expect("it has been measured")
}

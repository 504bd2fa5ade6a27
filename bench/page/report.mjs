// Ratios of two costs that were measured in turns.

export const median = values => [...values].sort((a, b) => a - b)[values.length >> 1];

// Prints a row: what was measured, beside what, the ratio, the budget, and both costs.
export function printRow(work, peer, ours, theirs, budget) {
  const ratios = ours.map((cost, at) => cost / theirs[at]);
  const [lowest, highest] = [Math.min(...ratios), Math.max(...ratios)].map(it => it.toFixed(2));
  const ratio = median(ratios);
  const verdict = budget ? `≤ ${budget} | ${ratio <= budget ? "met" : "MISSED"}` : "– | –";
  const costs = [ours, theirs].map(it => median(it).toFixed(2)).join(" | ");
  console.log(
    `| ${work} | ${peer} | ${ratio.toFixed(2)} (${lowest} to ${highest}) | ${verdict} | ${costs} |`,
  );
}

export function printHead(work) {
  console.log(`| ${work} | Backwire ÷ | ratio (lowest to highest round) | budget | | Backwire, ms | peer, ms |`);
  console.log("| --- | --- | --- | --- | --- | --- | --- |");
}

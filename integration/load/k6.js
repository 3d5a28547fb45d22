// This script makes the requests for k6.sh, which sets IGPROXY, LOAD, CONNECTIONS, RUN and MODE.
import http from 'k6/http';
import exec from 'k6/execution';

const { IGPROXY, MODE, RUN } = __ENV;

export const options = {
  scenarios: {
    [MODE]: MODE === 'burst'
      ? { executor: 'per-vu-iterations', vus: 200, iterations: 1 } // 200 callers, one request each
      : { executor: 'constant-vus', vus: Number(__ENV.CONNECTIONS), duration: `${__ENV.LOAD}s` },
  },
  thresholds: { http_req_failed: ['rate==0'] }, // k6 exits with an error if a request fails
  summaryTrendStats: ['avg', 'min', 'med', 'p(90)', 'p(99)', 'max'],
  discardResponseBodies: true,
};

export default function () {
  const token = `IGAA-k6-${MODE}-${RUN}` + (MODE === 'miss' ? `-${exec.scenario.iterationInTest}` : '');
  // The tag gives all requests one name. Without this tag, k6 would keep a metric for each URL.
  http.get(`${IGPROXY}/access_token?grant_type=ig_exchange_token&access_token=${token}`, { tags: { name: 'exchange' } });
}

import { clock } from './clock.ts'
import { dashboard, grafanaDatasources, grafanaProviders } from './dashboard.ts'
import { logFiles } from './logs.ts'
import { alertmanagerConfig } from './routing.ts'
import { yamlFile } from './rule-file.ts'
import { objectiveTests, symptomTests } from './rule-tests.ts'
import { objectiveRules, symptomRules } from './rules.ts'
import { prometheusConfig } from './targets.ts'

export interface File {
  /** Below `docker/`. */
  readonly name: string
  readonly text: string
}

/** What Prometheus and Alertmanager mount, at the speed of a clock. */
export function watchFiles(scale = 1): readonly File[] {
  const at = clock(scale)
  return [
    { name: 'prometheus/prometheus.yml', text: yamlFile(prometheusConfig(at, {})) },
    { name: 'prometheus/prometheus.tls.yml', text: yamlFile(prometheusConfig(at, { tls: true })) },
    { name: 'prometheus/prometheus.ha.yml', text: yamlFile(prometheusConfig(at, { ha: true })) },
    { name: 'prometheus/objectives.rules.yml', text: yamlFile(objectiveRules(at)) },
    { name: 'prometheus/symptoms.rules.yml', text: yamlFile(symptomRules(at)) },
    { name: 'alertmanager/alertmanager.yml', text: yamlFile(alertmanagerConfig(at)) },
  ]
}

/** Everything that is committed. */
export function operationsFiles(): readonly File[] {
  return [
    ...watchFiles(),
    ...logFiles(),
    { name: 'prometheus/objectives.test.yml', text: yamlFile(objectiveTests()) },
    { name: 'prometheus/symptoms.test.yml', text: yamlFile(symptomTests()) },
    { name: 'grafana/dashboards/film-store.json', text: JSON.stringify(dashboard()) },
    { name: 'grafana/provisioning/datasources/film-store.yml', text: yamlFile(grafanaDatasources) },
    { name: 'grafana/provisioning/dashboards/film-store.yml', text: yamlFile(grafanaProviders) },
  ]
}

{{- define "slipway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "slipway.fullname" -}}
{{- $name := include "slipway.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* Name of everything that belongs to the operator's pod; a release called slipway-operator does not get the word twice. */ -}}
{{- define "slipway.operatorName" -}}
{{- printf "%s-operator" (include "slipway.fullname" . | trimSuffix "-operator") }}
{{- end }}

{{- define "slipway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "slipway.operatorName" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: expected the name of an existing ServiceAccount, because serviceAccount.create is false. Set it." .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "slipway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "slipway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- /* Labels of every object. Without the component, which differs. */ -}}
{{- define "slipway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: slipway
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "slipway.operatorLabels" -}}
{{ include "slipway.labels" . }}
app.kubernetes.io/name: {{ include "slipway.name" . }}
app.kubernetes.io/component: operator
{{- end }}

{{- /* Reference of an image. Takes the image's values and the chart's appVersion: (list .Values.operator.image .Chart.AppVersion). */ -}}
{{- define "slipway.image" -}}
{{- $image := index . 0 }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) }}
{{- end }}
{{- end }}

{{- /* Labels of what Prometheus and Grafana select, the user's last: (list $ .labels). */ -}}
{{- define "slipway.monitoringLabels" -}}
{{- $root := index . 0 }}
{{- mergeOverwrite (fromYaml (include "slipway.labels" $root)) (dict "app.kubernetes.io/name" (include "slipway.name" $root) "app.kubernetes.io/component" "monitoring") (index . 1) | toYaml }}
{{- end }}

{{- /* Refuses a value that needs what the cluster does not have: (list $ "path.of.the.value"). */ -}}
{{- define "slipway.needPrometheusOperator" -}}
{{- $root := index . 0 }}
{{- if not ($root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") }}
{{- fail (printf "%s.enabled: is true, and the cluster does not know monitoring.coreos.com/v1. Install the CRDs of the Prometheus Operator first, or set it to false. For `helm template` add --api-versions monitoring.coreos.com/v1." (index . 1)) }}
{{- end }}
{{- end }}


{{- /* What the operator reads: CLASS=CONTROLLER, separated by commas. */ -}}
{{- define "slipway.ingressClasses" -}}
{{- $found := list }}
{{- range $class, $controller := .Values.ingress.classes }}
{{- $found = append $found (printf "%s=%s" $class $controller) }}
{{- end }}
{{- join "," $found }}
{{- end }}

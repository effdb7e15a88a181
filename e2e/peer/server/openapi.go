package main

import (
	"maps"

	meta "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// definitions are upstream's of meta/v1, as the extensions server has them generated, and those of metrics.k8s.io as
// kube-apiserver has them, which are in no module that is small enough.
func definitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	all := maps.Clone(meta.GetOpenAPIDefinitions(ref))
	quantity := resource.Quantity{}.OpenAPIModelName()
	usage := property("The memory usage is the memory working set.", "object")
	usage.AdditionalProperties = &spec.SchemaOrBool{Allows: true, Schema: reference("", ref(quantity), nil)}
	all[v1beta1.ContainerMetrics{}.OpenAPIModelName()] = definition(
		"ContainerMetrics sets resource usage metrics of a container.",
		map[string]spec.Schema{
			"name":  withDefault(property("Container name corresponding to the one from pod.spec.containers.", "string"), ""),
			"usage": usage,
		},
		[]string{"name", "usage"}, quantity)

	containers := array("Metrics for all containers are collected within the same time window.", ref(v1beta1.ContainerMetrics{}.OpenAPIModelName()))
	containers.Extensions = spec.Extensions{"x-kubernetes-list-type": "atomic"}
	all[v1beta1.PodMetrics{}.OpenAPIModelName()] = definition(
		"PodMetrics sets resource usage metrics of a pod.",
		measured(ref, "containers", containers),
		[]string{"timestamp", "window", "containers"}, append(parts(), v1beta1.ContainerMetrics{}.OpenAPIModelName())...)
	all[v1beta1.NodeMetrics{}.OpenAPIModelName()] = definition(
		"NodeMetrics sets resource usage metrics of a node.",
		measured(ref, "usage", usage),
		[]string{"timestamp", "window", "usage"}, append(parts(), quantity)...)
	all[v1beta1.PodMetricsList{}.OpenAPIModelName()] = list(ref, "PodMetricsList is a list of PodMetrics.", "List of pod metrics.",
		v1beta1.PodMetrics{}.OpenAPIModelName())
	all[v1beta1.NodeMetricsList{}.OpenAPIModelName()] = list(ref, "NodeMetricsList is a list of NodeMetrics.", "List of node metrics.",
		v1beta1.NodeMetrics{}.OpenAPIModelName())
	return all
}

func parts() []string {
	return []string{metav1.Duration{}.OpenAPIModelName(), metav1.ObjectMeta{}.OpenAPIModelName(), metav1.Time{}.OpenAPIModelName()}
}

func measured(ref common.ReferenceCallback, name string, last spec.Schema) map[string]spec.Schema {
	properties := typed()
	properties["metadata"] = *reference(
		"Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
		ref(metav1.ObjectMeta{}.OpenAPIModelName()), map[string]interface{}{})
	properties["timestamp"] = *reference(
		"The following fields define time interval from which metrics were collected from the interval [Timestamp-Window, Timestamp].",
		ref(metav1.Time{}.OpenAPIModelName()), nil)
	properties["window"] = *reference("", ref(metav1.Duration{}.OpenAPIModelName()), nil)
	properties[name] = last
	return properties
}

func list(ref common.ReferenceCallback, text, items, item string) common.OpenAPIDefinition {
	properties := typed()
	properties["metadata"] = *reference(
		"Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
		ref(metav1.ListMeta{}.OpenAPIModelName()), map[string]interface{}{})
	properties["items"] = array(items, ref(item))
	return definition(text, properties, []string{"items"}, metav1.ListMeta{}.OpenAPIModelName(), item)
}

func typed() map[string]spec.Schema {
	kind, version := metav1.TypeMeta{}.SwaggerDoc()["kind"], metav1.TypeMeta{}.SwaggerDoc()["apiVersion"]
	return map[string]spec.Schema{"kind": property(kind, "string"), "apiVersion": property(version, "string")}
}

func definition(text string, properties map[string]spec.Schema, required []string, uses ...string) common.OpenAPIDefinition {
	schema := property(text, "object")
	schema.Properties, schema.Required = properties, required
	return common.OpenAPIDefinition{Schema: schema, Dependencies: uses}
}

func property(text, kind string) spec.Schema {
	return spec.Schema{SchemaProps: spec.SchemaProps{Description: text, Type: []string{kind}}}
}

func withDefault(schema spec.Schema, value interface{}) spec.Schema {
	schema.Default = value
	return schema
}

func array(text string, ref spec.Ref) spec.Schema {
	schema := property(text, "array")
	schema.Items = &spec.SchemaOrArray{Schema: reference("", ref, map[string]interface{}{})}
	return schema
}

func reference(text string, ref spec.Ref, value interface{}) *spec.Schema {
	schema := &spec.Schema{SchemaProps: spec.SchemaProps{Description: text, Ref: ref}}
	if value != nil {
		schema.Default = value
	}
	return schema
}

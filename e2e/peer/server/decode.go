package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// decode answers each line with a line. A line is base64 of one enveloped object, or `watch ` and base64 of a stream's frames;
// the answer is the object, an array of events, or {"error": …}.
func decode(in io.Reader, out io.Writer) error {
	known := runtime.NewScheme()
	utilruntime.Must(clientscheme.AddToScheme(known))
	utilruntime.Must(v1beta1.AddToScheme(known))
	utilruntime.Must(apidiscovery.AddToScheme(known))
	utilruntime.Must(metav1.AddMetaToScheme(known))
	utilruntime.Must(metav1beta1.AddMetaToScheme(known))
	// The plugin's other version has the same fields.
	v1 := schema.GroupVersion{Group: v1beta1.GroupName, Version: "v1"}
	known.AddKnownTypes(v1, &v1beta1.NodeMetrics{}, &v1beta1.NodeMetricsList{}, &v1beta1.PodMetrics{}, &v1beta1.PodMetricsList{})
	metav1.AddToGroupVersion(known, v1)
	enveloped, raw := protobuf.NewSerializer(known, known), protobuf.NewRawSerializer(known, known)

	lines, answers := bufio.NewReader(in), json.NewEncoder(out)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		frames, isWatch := bytes.CutPrefix(bytes.TrimSpace(line), []byte("watch "))
		data := make([]byte, base64.StdEncoding.DecodedLen(len(frames)))
		n, err := base64.StdEncoding.Decode(data, frames)
		if err != nil {
			return err
		}
		var value interface{}
		if isWatch {
			value, err = events(data[:n], enveloped, raw)
		} else {
			value, err = object(data[:n], enveloped)
		}
		if err != nil {
			value = map[string]string{"error": err.Error()}
		}
		if err := answers.Encode(value); err != nil {
			return err
		}
	}
}

func object(data []byte, enveloped runtime.Decoder) (interface{}, error) {
	value, kind, err := enveloped.Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	value.GetObjectKind().SetGroupVersionKind(*kind)
	return value, nil
}

type event struct {
	Type   string      `json:"type"`
	Object interface{} `json:"object"`
}

func events(data []byte, enveloped, raw runtime.Decoder) (interface{}, error) {
	all := []event{}
	for len(data) > 0 {
		if len(data) < 4 {
			return nil, fmt.Errorf("%d bytes after the last frame", len(data))
		}
		n := int(binary.BigEndian.Uint32(data))
		if len(data) < 4+n {
			return nil, fmt.Errorf("a frame of %d bytes ends after %d", n, len(data)-4)
		}
		frame := &metav1.WatchEvent{}
		if _, _, err := raw.Decode(data[4:4+n], nil, frame); err != nil {
			return nil, fmt.Errorf("a frame: %w", err)
		}
		value, err := object(frame.Object.Raw, enveloped)
		if err != nil {
			return nil, fmt.Errorf("the object of a %s frame: %w", frame.Type, err)
		}
		all = append(all, event{frame.Type, value})
		data = data[4+n:]
	}
	return all, nil
}

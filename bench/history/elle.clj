; Check a history of lists with Elle. Usage: clojure.main elle.clj FILE MODEL
; It prints {:valid? true} or the anomalies (docs/histories.md).
(require '[clojure.edn :as edn]
         '[clojure.java.io :as io]
         '[clojure.pprint :refer [pprint]]
         '[elle.list-append :as list-append]
         '[jepsen.history :as history])

(let [[file model] *command-line-args*
      operations (with-open [lines (io/reader file)]
                   (mapv (comp history/op edn/read-string) (line-seq lines)))
      verdict (list-append/check {:consistency-models [(keyword model)]}
                                 (history/history operations))]
  (println (count operations) "lines," model)
  (pprint (select-keys verdict [:valid? :anomaly-types :not :also-not]))
  (pprint (into {} (map (fn [[kind found]] [kind (take 2 found)]) (:anomalies verdict))))
  (shutdown-agents)
  (System/exit (if (true? (:valid? verdict)) 0 1)))
